"""Muon: momentum made orthogonal by a Newton-Schulz iteration.  Takes matrices, or stacks of them along leading dimensions."""
import math

import torch


def orthogonal(x):
    """nearest semi-orthogonal matrices of [..., m, n], roughly; bfloat16 is exact enough for a direction"""
    x = (x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)).bfloat16()
    flip = x.shape[-2] > x.shape[-1]
    if flip:
        x = x.transpose(-2, -1).contiguous()
    for _ in range(5):
        a = x @ x.transpose(-2, -1)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x    # coefficients of Jordan's quintic
    return (x.transpose(-2, -1) if flip else x).float()


class Muon:
    """params: list of matrices; momentum: tensors of the same shapes, given by the caller (they may lie in shared memory).

    Making a direction orthogonal costs as much as a third of a small training step, so each matrix moves at every second step only,
    somewhat further."""
    every, further = 2, 1.7

    def __init__(self, params, momentum, beta=0.95, weight_decay=0.01):
        self.params, self.momentum, self.beta, self.weight_decay, self.count = params, momentum, beta, weight_decay, 0

    @torch.no_grad()
    def step(self, rate):
        self.count += 1
        rate *= self.further
        for i, (p, m) in enumerate(zip(self.params, self.momentum)):
            if p.grad is None:
                continue
            m.mul_(self.beta).add_(p.grad, alpha=1 - self.beta)
            if (i + self.count) % self.every:
                continue
            x = orthogonal(p.grad.lerp(m, self.beta))
            p.mul_(1 - rate * self.weight_decay).add_(x, alpha=-rate * 0.2 * math.sqrt(max(p.shape[-2:])))
