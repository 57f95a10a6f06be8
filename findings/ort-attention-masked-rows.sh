#!/bin/sh
# ONNX Attention (opset 23) on the CPU gives different numbers in ONNX Runtime 1.30.0 and
# in 1.27.0 for the same model and input, without an error or warning, in two cases:
#   - a query whose boolean mask is false for every key (a padding row of a batch, say)
#     gives the mean of V in 1.27.0 and zeros in 1.30.0;
#   - with is_causal and no past, a single query attends to every key in 1.27.0, but only
#     to the first key in 1.30.0. If it is the first of two queries it attends only to the
#     first key in both, so 1.27.0 gives two answers to the same query.
#
# 1.30.0 does what ONNX says. Attention-23 in docs/Changelog.md and
# onnx/reference/ops/op_attention.py (onnx/onnx at f754691, August 2026): a query for
# which every key is masked gives a row of zeros, a correction made without a new opset
# (before it the reference gave NaN, never the mean); with is_causal, query i attends to
# key j if j is at most i plus the length of the past, so the first query of a run without
# a past attends to key 0 alone. ONNX Runtime's own notes on both cases:
# microsoft/onnxruntime issues 28904 (rows) and 29020 (a single query).
#
# Measured (Node 20, Linux, amd64; K is three keys, V is [3 0] [0 6] [9 9], mean [4 5]):
#   1.27.0, mask fff:                 4.000 5.000
#   1.27.0, mask ttf:                 0.991 4.019
#   1.27.0, causal, one query:        5.604 6.888
#   1.27.0, causal, first of two:     3.000 0.000
#   1.30.0, mask fff:                 0.000 0.000
#   1.30.0, mask ttf:                 0.991 4.019
#   1.30.0, causal, one query:        3.000 0.000
#   1.30.0, causal, first of two:     3.000 0.000
#
# Needs node and npm. Fails if any of these lines changes.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

npm init -y >npm.log 2>&1
npm install --no-audit --no-fund --ignore-scripts \
	ort127@npm:onnxruntime-node@1.27.0 ort130@npm:onnxruntime-node@1.30.0 \
	>>npm.log 2>&1 || { cat npm.log; exit 1; }

cat >run.js <<'JS'
'use strict';
const ort = require(process.argv[2]);

// The few messages of onnx.proto that a model of one node needs.
const varint = (n) => {
  const out = [];
  for (; n > 127; n = Math.floor(n / 128)) out.push((n % 128) | 128);
  return Buffer.from([...out, n]);
};
const int = (field, n) => Buffer.concat([varint(field << 3), varint(n)]);
const bytes = (field, ...parts) => {
  const body = Buffer.concat(parts.map((p) => Buffer.from(p)));
  return Buffer.concat([varint((field << 3) | 2), varint(body.length), body]);
};
const FLOAT = 1, BOOL = 9;
const value = (field, [name, type, dims]) =>
  bytes(field, bytes(1, name), bytes(2, bytes(1, int(1, type),
    bytes(2, ...dims.map((d) => bytes(1, int(1, d)))))));
const attention = (inputs, output, attributes) => Buffer.concat([
  int(1, 11), // IR version
  bytes(7,
    bytes(1,
      ...inputs.map(([name]) => bytes(1, name)),
      bytes(2, output[0]),
      bytes(4, 'Attention'),
      ...Object.entries(attributes).map(([k, n]) => bytes(5, bytes(1, k), int(3, n), int(20, 2)))),
    bytes(2, 'one_node'),
    ...inputs.map((i) => value(11, i)),
    value(12, output)),
  bytes(8, int(2, 23)), // opset 23
]);

const float = (dims, x) => new ort.Tensor('float32', Float32Array.from(x), dims);
const k = float([1, 1, 3, 2], [1, 0, 0, 1, 1, 1]);
const v = float([1, 1, 3, 2], [3, 0, 0, 6, 9, 9]);

// rows gives the output of each query; q has two numbers a query, mask three a query.
async function rows(q, attributes, mask) {
  const n = q.length / 2;
  const inputs = [['q', FLOAT, [1, 1, n, 2]], ['k', FLOAT, [1, 1, 3, 2]], ['v', FLOAT, [1, 1, 3, 2]]];
  const feeds = { q: float([1, 1, n, 2], q), k, v };
  if (mask) {
    inputs.push(['mask', BOOL, [n, 3]]);
    feeds.mask = new ort.Tensor('bool', Uint8Array.from(mask), [n, 3]);
  }
  const session = await ort.InferenceSession.create(
    attention(inputs, ['y', FLOAT, [1, 1, n, 2]], attributes), { executionProviders: ['cpu'] });
  const { y } = await session.run(feeds);
  return Array.from({ length: n }, (_, i) => [...y.data.slice(2 * i, 2 * i + 2)].map((x) => x.toFixed(3)).join(' '));
}

(async () => {
  const say = (what, row) => console.log(`${ort.env.versions.node}, ${(what + ':').padEnd(24)}  ${row}`);
  const masked = await rows([1, 2, 3, 4], {}, [0, 0, 0, 1, 1, 0]);
  say('mask fff', masked[0]);
  say('mask ttf', masked[1]);
  say('causal, one query', (await rows([1, 2], { is_causal: 1 }))[0]);
  say('causal, first of two', (await rows([1, 2, 3, 4], { is_causal: 1 }))[0]);
})();
JS
node run.js ort127 >seen
node run.js ort130 >>seen

cat >want <<'WANT'
1.27.0, mask fff:                 4.000 5.000
1.27.0, mask ttf:                 0.991 4.019
1.27.0, causal, one query:        5.604 6.888
1.27.0, causal, first of two:     3.000 0.000
1.30.0, mask fff:                 0.000 0.000
1.30.0, mask ttf:                 0.991 4.019
1.30.0, causal, one query:        3.000 0.000
1.30.0, causal, first of two:     3.000 0.000
WANT
cat seen
if ! cmp -s want seen; then
	echo "this is no longer so; was:" >&2
	cat want >&2
	exit 1
fi
