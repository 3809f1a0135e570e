"""Attention flow: the most that can flow from a token to a frame when attention weights are pipes.

The graph of full-rollout, with each product replaced by a network: node (l, i) is position i after decoder
layer l, node (l, i)' the same before its cross-attention block, nodes e_L ... e_0 are groups of frames
after each encoder layer.

    (l, i)  -> e_L(g)         A_l[i, g] / 2        (l, i) -> (l, i)'     1/2
    (l, i)' -> (l - 1, k)     (S_l[i, k] + [i = k]) / 2
    e_l(g)  -> e_(l-1)(k)     (E_l[g, k] + [g = k]) / 2
    map[i, frame] = maximum flow from (L, i) to e_0(group of frame) / number of frames in the group, rows normalised

A, S and E are means over heads. Frames are pooled, never used one by one: the valid frames into at most
`frames` (50) groups of neighbours, all padding into one more; a group's weight to another is the sum over
the frames looked at and the mean over the frames that look. There is one maximum flow per token and
group: 1,500 frames would need 1,500 of them per token, on graphs of millions of edges. Capacities are rounded
to multiples of 2^-24 (the solver works on integers).
Source: Abnar & Zuidema 2020, arXiv 2005.00928, section 3 (there: encoders only, all positions).
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow
from torch import Tensor

from xbench.methods.rollout import mixed, through
from xbench.trace import Trace

_UNIT = 2**24
Edges = list[tuple[int, int, Float[np.ndarray, "_ _"]]]


@torch.no_grad()
def attention_flow(trace: Trace, *, frames: int) -> Float[Tensor, "token frame"]:
    """Return the maximum flow from each token to each group of frames, spread over the group."""
    decoder, cross, encoder = (trace.stack(name) for name in ("decoder", "cross", "encoder"))
    groups = group_of(trace.layout.frames, cross[0].key.shape[1], frames)
    gather = torch.nn.functional.one_hot(torch.from_numpy(groups)).float().to(cross[0].key.device)
    sizes = gather.sum(0)
    positions, count = cross[0].query.shape[1], len(sizes)

    # Nodes: e_0 ... e_L, then (0, .)', (0, .), (1, .)', ... each a run of neighbouring numbers.
    edges: Edges = []
    top = len(encoder) * count
    for layer, block in enumerate(encoder):
        pooled = through(gather.T, block) @ gather / sizes[:, None]
        edges.append(((layer + 1) * count, layer * count, pooled.cpu().double().numpy()))
    before = top + count
    for layer, (own, other) in enumerate(zip(decoder, cross, strict=True)):
        here, after = before, before + positions
        if layer:
            edges.append((here, here - positions, mixed(own).cpu().double().numpy()))
        edges.append((after, here, np.eye(positions) / 2))
        looked = other.attention().mean(0) @ gather / 2
        edges.append((after, top, looked.cpu().double().numpy()))
        before = after + positions
    last = before - positions

    first = trace.prompt_length - 1
    wanted = range(last + first, last + first + len(trace.layout.tokens))
    flow = max_flows(edges, before, wanted, range(int(groups[trace.layout.frames - 1]) + 1))
    rows = torch.zeros(positions, count)
    rows[first : first + len(flow), : flow.shape[1]] = torch.from_numpy(flow).float()
    return trace.crop((rows / sizes.cpu())[:, groups])


def group_of(valid: int, total: int, most: int) -> Int[np.ndarray, " source"]:
    """Return the group of each frame: at most `most` of equal size (up to one), then one for padding."""
    count = min(valid, most)
    groups = np.arange(valid) * count // valid
    return np.concatenate([groups, np.full(total - valid, count)])


def max_flows(
    edges: Edges, nodes: int, sources: range, sinks: range
) -> Float[np.ndarray, "source sink"]:
    """Return the maximum flow from each source to each sink; edges are (first row, first column, capacities)."""
    rows, columns, capacities = [], [], []
    for start, end, block in edges:
        scaled = np.rint(block * _UNIT).astype(np.int32)
        row, column = np.nonzero(scaled)
        rows.append(row + start)
        columns.append(column + end)
        capacities.append(scaled[row, column])
    graph = csr_array(
        (np.concatenate(capacities), (np.concatenate(rows), np.concatenate(columns))),
        shape=(nodes, nodes),
    )
    flows = [[maximum_flow(graph, a, b).flow_value for b in sinks] for a in sources]
    return np.array(flows) / _UNIT
