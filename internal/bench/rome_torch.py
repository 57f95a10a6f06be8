"""ROME's search of the value as a PyTorch loop, to measure editpipe against.

Development only; needs PyTorch and NumPy (Debian: python3-torch) and nothing
else. It does what the authors' code does for one edit at a time, on the same
token ids: per step a forward pass over all rows and positions, with the shift
added at the subject's last token of every row, log-probabilities at all
positions, the two-term loss, a backward pass to the shift alone, Adam and the
clamp. Keys and values cost one more forward pass per edit. With --batch N edits
of one length share a pass, which the authors' code does not do.

usage: rome_torch.py WEIGHTS.npz SEQUENCES.json [--threads N] [--batch N]

WEIGHTS.npz holds the parameters of a GPT-2 under their usual names.
SEQUENCES.json holds heads and epsilon of the model, the layer, the settings and,
per edit, rows of ids with the position of the shift (the essence last) and the
target ids. Prints one JSON object: seconds, process CPU seconds and the losses of
each edit.
"""

import argparse
import json
import math
import time

import numpy
import torch
from torch.nn import functional


class Model:
    """GPT-2 as the transformers library computes it in float32."""

    def __init__(self, file, heads, eps):
        self.w = {name: torch.from_numpy(v) for name, v in numpy.load(file).items()}
        self.heads, self.eps = heads, eps
        self.layers = sum(name.endswith("mlp.c_proj.weight") for name in self.w)
        n = len(self.w["transformer.wpe.weight"])
        self.causal = torch.tril(torch.ones(n, n, dtype=torch.bool)).view(1, 1, n, n)

    def norm(self, x, name):
        return functional.layer_norm(x, x.shape[-1:], self.w[name + ".weight"], self.w[name + ".bias"], self.eps)

    def linear(self, x, name):
        y = torch.addmm(self.w[name + ".bias"], x.view(-1, x.shape[-1]), self.w[name + ".weight"])
        return y.view(x.shape[:-1] + y.shape[-1:])

    def attention(self, x, name):
        B, T, d = x.shape
        q, k, v = (t.view(B, T, self.heads, -1).permute(0, 2, 1, 3) for t in self.linear(x, name + ".c_attn").split(d, dim=2))
        a = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(v.shape[-1])
        a = torch.where(self.causal[:, :, :T, :T], a, torch.finfo(a.dtype).min)
        a = torch.matmul(functional.softmax(a, dim=-1), v)
        return self.linear(a.permute(0, 2, 1, 3).contiguous().view(B, T, d), name + ".c_proj")

    def logits(self, ids, layer=None, change=None):
        """change(y) may replace the output of a layer's feed-forward part."""
        x = self.w["transformer.wte.weight"][ids] + self.w["transformer.wpe.weight"][: ids.shape[1]]
        for i in range(self.layers):
            h = "transformer.h.%d." % i
            x = x + self.attention(self.norm(x, h + "ln_1"), h + "attn")
            y = self.linear(self.norm(x, h + "ln_2"), h + "mlp.c_fc")
            y = 0.5 * y * (1 + torch.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * torch.pow(y, 3))))
            y = self.linear(y, h + "mlp.c_proj")
            if i == layer:
                y = change(y)
            x = x + y
        return torch.matmul(self.norm(x, "transformer.ln_f"), self.w["transformer.wte.weight"].t())


def search(model, edits, layer, s):
    """Searches the shifts of edits that share every pass; returns their losses."""
    longest = max(len(r["ids"]) for e in edits for r in e["rows"])
    ids = torch.zeros(sum(len(e["rows"]) for e in edits), longest, dtype=torch.long)
    at, targets, owner, essence = [], torch.full(ids.shape, -100, dtype=torch.long), [], []
    b = 0
    for k, e in enumerate(edits):
        for r in e["rows"]:
            ids[b, : len(r["ids"])] = torch.tensor(r["ids"])
            at.append(r["at"])
            owner.append(k)
            if r is e["rows"][-1]:
                essence.append(b)
            else:
                targets[b, len(r["ids"]) - len(e["target"]) : len(r["ids"])] = torch.tensor(e["target"])
            b += 1
    first = [owner.index(k) for k in range(len(edits))]
    delta = torch.zeros(len(edits), model.w["transformer.wte.weight"].shape[1], requires_grad=True)
    start, reference = [], []

    def change(y):
        if not start:
            start.extend(y[b, at[b]].detach().clone() for b in first)
        y = y.clone()
        for b, t in enumerate(at):
            y[b, t] += delta[owner[b]]
        return y

    adam = torch.optim.Adam([delta], lr=s["rate"])
    losses = [[] for _ in edits]
    with torch.no_grad():  # keys and the value, as the code computes them before the search
        model.logits(ids)
    for step in range(s["steps"]):
        adam.zero_grad()
        logits = model.logits(ids, layer, change)
        subject = functional.log_softmax(torch.stack([logits[b, at[b]] for b in essence]), dim=1)
        if not reference:
            reference.append(subject.detach().clone())
        every = torch.log_softmax(logits, dim=2)
        mask = targets != -100
        mine = torch.gather(every, 2, torch.where(mask, targets, 0).unsqueeze(2)).squeeze(2) * mask
        total = 0
        for k, e in enumerate(edits):
            rows = slice(first[k], first[k] + len(e["rows"]) - 1)
            nll = -(mine[rows].sum(1) / len(e["target"])).mean()
            kl = s["kl"] * functional.kl_div(reference[0][k : k + 1], subject[k : k + 1], log_target=True, reduction="batchmean")
            decay = s["decay"] * torch.norm(delta[k]) / torch.norm(start[k]) ** 2
            loss = nll + kl + decay
            losses[k].append(loss.item())
            total = total + loss
        if step == s["steps"] - 1:
            break
        total.backward()
        adam.step()
        with torch.no_grad():
            for k in range(len(edits)):
                limit = s["clamp"] * start[k].norm()
                if delta[k].norm() > limit:
                    delta[k] *= limit / delta[k].norm()
    return losses


def main():
    p = argparse.ArgumentParser()
    p.add_argument("weights")
    p.add_argument("sequences")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--batch", type=int, default=1)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    with open(a.sequences) as f:
        work = json.load(f)
    model = Model(a.weights, work["heads"], work["epsilon"])
    edits = sorted(work["edits"], key=lambda e: max(len(r["ids"]) for r in e["rows"])) if a.batch > 1 else work["edits"]
    search(model, edits[:1], work["layer"], dict(work["settings"], steps=2))  # warm-up
    losses, t, c = [], time.perf_counter(), time.process_time()
    for k in range(0, len(edits), a.batch):
        losses += search(model, edits[k : k + a.batch], work["layer"], work["settings"])
    t, c = time.perf_counter() - t, time.process_time() - c
    by_id = {e["id"]: l for e, l in zip(edits, losses)}
    print(json.dumps({"torch": torch.__version__, "seconds": t, "cpu_seconds": c, "losses": by_id}))


if __name__ == "__main__":
    main()
