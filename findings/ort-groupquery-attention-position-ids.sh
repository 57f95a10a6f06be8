#!/bin/sh
# com.microsoft GroupQueryAttention with do_rotary takes a position for every token of
# every row (position_ids, batch by sequence), but in a run without a past ONNX Runtime on
# the CPU reads only the first number of the whole tensor and counts up from it in every
# row. In a later run it reads all of them. Hence, without an error or warning:
#   - positions that do not increase by one are replaced by others, and the same tokens at
#     the same positions give different outputs in one run and in two;
#   - rows that start at different positions (left-padded, say) are cached as if all of
#     them started where the first row does. Rotating a whole row does not change its own
#     attention, but the next run uses the row's true position with a cache of wrong ones.
#
# The operator's documentation (docs/ContribOperators.md of microsoft/onnxruntime, input
# position_ids) mentions it in half a sentence: for the first prompt only the first element
# is used. It does not say that this is one element for all rows.
#
# Measured, with the same result in 1.27.0 and 1.30.0 (Node 20, Linux, amd64; the value of
# token t is one-hot at t, so the output of the last token is its weights on the three):
#   first run, given [1 3 0] [2 1 0]: used [1 2 3] [1 2 3]
#   run with a past, given [3 0]: used [3 0]
#   [1 3 0] in one run: weights 0.251 0.352 0.397
#   [1 3 0] in two runs: weights 0.388 0.173 0.439
#   [0 1] and [3 4], then [2] and [5]: weights 0.251 0.352 0.397 and weights 0.117 0.172 0.710
#   closed form at [1 3 0]: weights 0.388 0.173 0.439
#   closed form at [0 1 2] and [3 4 5]: weights 0.251 0.352 0.397 and weights 0.251 0.352 0.397
#
# Needs node and npm. Fails if any of these lines changes in either version.
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
const FLOAT = 1, INT32 = 6, INT64 = 7;
const value = (field, [name, type, dims]) =>
  bytes(field, bytes(1, name), bytes(2, bytes(1, int(1, type),
    bytes(2, ...dims.map((d) => bytes(1, typeof d === 'number' ? int(1, d) : bytes(2, d)))))));

const size = 16, tableRows = 32, step = 0.5; // head size; rows of the tables; radians a position
const inputs = [
  ['query', FLOAT, ['batch', 'new', size]],
  ['key', FLOAT, ['batch', 'new', size]],
  ['value', FLOAT, ['batch', 'new', size]],
  ['past_key', FLOAT, ['batch', 1, 'past', size]],
  ['past_value', FLOAT, ['batch', 1, 'past', size]],
  ['seqlens_k', INT32, ['batch']],
  ['total_sequence_length', INT32, [1]],
  ['cos_cache', FLOAT, [tableRows, size / 2]],
  ['sin_cache', FLOAT, [tableRows, size / 2]],
  ['position_ids', INT64, ['batch', 'new']],
];
const outputs = [
  ['output', FLOAT, ['batch', 'new', size]],
  ['present_key', FLOAT, ['batch', 1, 'total', size]],
  ['present_value', FLOAT, ['batch', 1, 'total', size]],
];
const model = Buffer.concat([
  int(1, 10), // IR version
  bytes(7,
    bytes(1,
      ...inputs.map(([name]) => bytes(1, name)),
      ...outputs.map(([name]) => bytes(2, name)),
      bytes(4, 'GroupQueryAttention'),
      ...['num_heads', 'kv_num_heads', 'do_rotary'].map((k) => bytes(5, bytes(1, k), int(3, 1), int(20, 2))),
      bytes(7, 'com.microsoft')),
    bytes(2, 'one_node'),
    ...inputs.map((i) => value(11, i)),
    ...outputs.map((o) => value(12, o))),
  bytes(8, int(2, 21)),
  bytes(8, bytes(1, 'com.microsoft'), int(2, 1)),
]);

const float = (dims, x) => new ort.Tensor('float32', Float32Array.from(x), dims);
const angles = Array.from({ length: tableRows * size / 2 }, (_, i) =>
  Math.floor(i / (size / 2)) * step / 10 ** (i % (size / 2)));
const vector = (at, x) => Array.from({ length: size }, (_, i) => (i === at ? x : 0));

// run gives the operator's outputs for rows of positions. Every query is 4 and every key
// 1 in the first pair of the rotation, so a score (over the root of 16) is the cosine of
// the turn between them; the value of token t is one-hot at t, so an output is weights.
async function run(session, rows, past) {
  const batch = rows.length, n = rows[0].length, before = past ? past.present_key.dims[2] : 0;
  const tokens = rows.flatMap((r) => r.map((_, i) => before + i));
  return session.run({
    query: float([batch, n, size], tokens.flatMap(() => vector(0, 4))),
    key: float([batch, n, size], tokens.flatMap(() => vector(0, 1))),
    value: float([batch, n, size], tokens.flatMap((t) => vector(t, 1))),
    past_key: past ? past.present_key : float([batch, 1, 0, size], []),
    past_value: past ? past.present_value : float([batch, 1, 0, size], []),
    seqlens_k: new ort.Tensor('int32', Int32Array.from(rows, () => before + n - 1), [batch]),
    total_sequence_length: new ort.Tensor('int32', Int32Array.of(before + n), [1]),
    cos_cache: float([tableRows, size / 2], angles.map(Math.cos)),
    sin_cache: float([tableRows, size / 2], angles.map(Math.sin)),
    position_ids: new ort.Tensor('int64', BigInt64Array.from(rows.flat(), BigInt), [batch, n]),
  });
}

// used reads the positions of the keys in the cache, from the turn of their first pair.
function used({ present_key: { data, dims } }, from) {
  const [batch, , total] = dims;
  return Array.from({ length: batch }, (_, b) => '[' + Array.from({ length: total - from }, (_, i) => {
    const at = (b * total + from + i) * size;
    return Math.round(Math.atan2(data[at + size / 2], data[at]) / step);
  }).join(' ') + ']').join(' ');
}

const weights = (x) => 'weights ' + [...x].map((w) => w.toFixed(3)).join(' ');
// last gives the weights of each row's last token.
const last = ({ output: { data, dims: [batch, n] } }) => Array.from({ length: batch }, (_, b) => {
  const at = (b * n + n - 1) * size;
  return weights(data.slice(at, at + 3));
}).join(' and ');

// closed gives the weights of the last token by the formula, at the positions given.
function closed(positions) {
  const e = positions.map((p) => Math.exp(Math.cos(step * (positions.at(-1) - p))));
  return weights(e.map((x) => x / e.reduce((a, b) => a + b)));
}

(async () => {
  console.log(`onnxruntime-node ${ort.env.versions.node}`);
  const session = await ort.InferenceSession.create(model, { executionProviders: ['cpu'] });
  console.log(`first run, given [1 3 0] [2 1 0]: used ${used(await run(session, [[1, 3, 0], [2, 1, 0]]), 0)}`);
  const whole = await run(session, [[1, 3, 0]]);
  const second = await run(session, [[3, 0]], await run(session, [[1]]));
  console.log(`run with a past, given [3 0]: used ${used(second, 1)}`);
  console.log(`[1 3 0] in one run: ${last(whole)}`);
  console.log(`[1 3 0] in two runs: ${last(second)}`);
  const rows = await run(session, [[2], [5]], await run(session, [[0, 1], [3, 4]]));
  console.log(`[0 1] and [3 4], then [2] and [5]: ${last(rows)}`);
  console.log(`closed form at [1 3 0]: ${closed([1, 3, 0])}`);
  console.log(`closed form at [0 1 2] and [3 4 5]: ${closed([0, 1, 2])} and ${closed([3, 4, 5])}`);
})();
JS
node run.js ort127 >seen
node run.js ort130 >>seen

for version in 1.27.0 1.30.0; do
	echo "onnxruntime-node $version"
	cat <<'WANT'
first run, given [1 3 0] [2 1 0]: used [1 2 3] [1 2 3]
run with a past, given [3 0]: used [3 0]
[1 3 0] in one run: weights 0.251 0.352 0.397
[1 3 0] in two runs: weights 0.388 0.173 0.439
[0 1] and [3 4], then [2] and [5]: weights 0.251 0.352 0.397 and weights 0.117 0.172 0.710
closed form at [1 3 0]: weights 0.388 0.173 0.439
closed form at [0 1 2] and [3 4 5]: weights 0.251 0.352 0.397 and weights 0.251 0.352 0.397
WANT
done >want
cat seen
if ! cmp -s want seen; then
	echo "this is no longer so; was:" >&2
	cat want >&2
	exit 1
fi
