"""
Certify a torch module in three lines
=====================================

**Claim.** A trained ``torch.nn.Sequential``, its loader and its ``weight_decay`` are all that a certificate
needs.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from convexnn.interop import certify_module, from_torch

torch.set_num_threads(1)  # these tensors are tiny
rng = np.random.default_rng(0)
X = torch.tensor(rng.standard_normal((80, 3)), dtype=torch.float32)
y = torch.sin(2 * X[:, 0]) + 0.5 * X[:, 1]
loader = DataLoader(
    TensorDataset(X, y), batch_size=40, shuffle=True, generator=torch.Generator().manual_seed(0)
)


def train_module(epochs):
    """A module trained by Adam, from one start, for so many epochs."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 20), torch.nn.ReLU(), torch.nn.Linear(20, 1))
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01, weight_decay=0.02)
    for _ in range(epochs):
        for rows, targets in loader:
            optimiser.zero_grad()
            torch.nn.functional.mse_loss(net(rows)[:, 0], targets).backward()
            optimiser.step()
    return net


# %%
# These are the three lines:

net = train_module(epochs=100)
result = certify_module(net, loader, weight_decay=0.02)
print(result)

# %%
# The same bound holds for every module, so it serves for the earlier epochs too.

bound = result.certificate.lower_bound
epochs, objectives = [5, 20, 50, 100], []
for k in epochs:
    network = from_torch(train_module(k)).network
    ones = np.column_stack([X.numpy(), np.ones(len(X))]).astype(float)
    objectives.append(network.objective(ones, y.numpy().astype(float), result.beta))
    print(f"{k:3d} epochs: at most {objectives[-1] / bound - 1:.1%} above the optimum")

fig, ax = plt.subplots(layout="constrained")
ax.plot(epochs, objectives, "o-", label="objective of the module")
ax.axhline(
    bound, color="black", linestyle="--", label=f"{result.certificate.kind} lower bound on every network"
)
ax.set(xlabel="epochs of Adam", ylabel="objective (loss + penalty)", ylim=(0, None))
ax.legend()
plt.show()
