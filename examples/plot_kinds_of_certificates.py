"""
Kinds of certificates
=====================

**Claim.** One network, three bounds of three kinds. ``bounded`` is proved, ``estimated`` is strong
evidence, and ``patterns`` compares with the networks of some patterns only. The numbers alone do not tell
them apart, so the kind is always shown.
"""

import matplotlib.pyplot as plt

from convexnn import Patterns, beta_max, certify, train
from convexnn.data import Scaler, load_diabetes

data = load_diabetes()
X = Scaler.fit(data.X).transform(data.X)
y = (data.y - data.y.mean()) / data.y.std()
beta = beta_max(X, y) / 5
result = train(X, y, beta, tol=1e-3)
network, nu = result.network, result.certificate.nu

certificates = {
    "bounded": certify(network, X, y, beta, nu=nu, certificate="bounded", max_time=3),
    "estimated": certify(network, X, y, beta, nu=nu, certificate="estimated"),
    "patterns": certify(network, X, y, beta, nu=nu, patterns=Patterns.from_network(X, network)),
}
for certificate in certificates.values():
    print(certificate)

# %%
# With up to seven columns ``exact`` is cheap: it is proved, and as close as the tolerance says.

fig, ax = plt.subplots(layout="constrained")
gaps = [certificate.relative_gap for certificate in certificates.values()]
bars = ax.bar([certificate.kind for certificate in certificates.values()], gaps,
              color=["tab:green", "tab:blue", "tab:grey"])  # fmt: skip
ax.bar_label(bars, fmt="%.1e")
ax.set_yscale("log")
ax.set(ylabel="relative gap", title="The same network, by the kind of its bound")
plt.show()
