// Asks the official implementation. One JSON object on stdin says what:
//
//   {tokenizer, texts, decode}
//                        encode texts with a tokenizer.json (its contents as a string): a line per
//                        text: {ids, offsets, fullIds}, and for so many texts to decode also
//                        {fullOffsets, decoded, skipped}
//   {second, texts}      the ids that @huggingface/tokenizers, written in JavaScript, gives for a
//                        tokenizer.json: a line per text: [id, ...] or null where it gives up
//   {patterns, texts}    what regular expressions match: a line per pattern: {hits} with a list of
//                        [start, end] per text, without empty matches, or {error}
//   {sets}               which characters regular expressions match: a line per expression:
//                        {ranges} or {error}
//   {normalizers, texts} what normalizers (JSON) make of texts: a line per normalizer: [text, ...]
//   {splits, texts}      what pre_tokenizers (JSON) make of texts: a line per pre_tokenizer: a list
//                        of [piece, ...] per text
//
// Offsets count characters (Unicode scalar values), as this binding reports them.
import { createRequire } from "node:module";
import { readFileSync, writeSync } from "node:fs";

const { Tokenizer } = createRequire(import.meta.url)("tokenizers");

const job = JSON.parse(readFileSync(0, "utf8"));

function say(line) {
  const bytes = Buffer.from(JSON.stringify(line) + "\n");
  for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at);
}

// A tokenizer with one component of interest.
function withComponent(component) {
  return Tokenizer.fromString(
    JSON.stringify({
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: [],
      normalizer: null,
      pre_tokenizer: null,
      post_processor: null,
      decoder: null,
      model: { type: "WordLevel", vocab: { "[UNK]": 0 }, unk_token: "[UNK]" },
      ...component,
    }),
  );
}

const split = (pattern) => ({ type: "Split", pattern: { Regex: pattern }, behavior: "Removed", invert: true });

// The settings of a file that cut texts short or fill them up are not applied.
function whole(json) {
  const file = JSON.parse(json);
  return JSON.stringify({ ...file, truncation: null, padding: null });
}

async function encode(tokenizer, texts, decode) {
  const step = 256;
  for (let at = 0; at < texts.length; at += step) {
    const batch = texts.slice(at, at + step);
    const plain = await tokenizer.encodeBatch(batch, { addSpecialTokens: false });
    const full = await tokenizer.encodeBatch(batch, { addSpecialTokens: true });
    const ids = plain.map((e) => e.getIds());
    const fullIds = full.map((e) => e.getIds());
    const some = at < decode;
    const decoded = some ? await tokenizer.decodeBatch(ids, false) : [];
    const skipped = some ? await tokenizer.decodeBatch(fullIds, true) : [];
    for (let i = 0; i < batch.length; i++) {
      const line = { ids: ids[i], offsets: plain[i].getOffsets(), fullIds: fullIds[i] };
      if (some) Object.assign(line, { fullOffsets: full[i].getOffsets(), decoded: decoded[i], skipped: skipped[i] });
      say(line);
    }
  }
}

// attempt makes an error of the official implementation a line of its own.
function attempt(f) {
  try {
    return f();
  } catch (e) {
    return { error: String(e.message ?? e) };
  }
}

// ranges are the characters that a pattern matches, of the planes that have any:
// 0 to 3 and the beginnings of 14 and 15.
function ranges(pattern) {
  const normalizer = withComponent({ normalizer: { type: "Replace", pattern: { Regex: pattern }, content: "" } }).getNormalizer();
  const step = 4096;
  const out = [];
  for (let first = 0; first < 0x110000; first += step) {
    if ((first >= 0xd800 && first < 0xe000) || (first >= 0x40000 && first !== 0xe0000 && first !== 0xf0000)) continue;
    let text = "";
    for (let c = first; c < first + step; c++) text += c >= 0xd800 && c < 0xe000 ? "" : String.fromCodePoint(c);
    const left = new Set();
    for (const c of normalizer.normalizeString(text)) left.add(c.codePointAt(0));
    for (let c = first; c < first + step; c++) {
      if (left.has(c) || (c >= 0xd800 && c < 0xe000)) continue;
      const last = out[out.length - 1];
      if (last && last[1] + 1 === c) last[1] = c;
      else out.push([c, c]);
    }
  }
  return { ranges: out };
}

if (job.tokenizer) {
  await encode(Tokenizer.fromString(whole(job.tokenizer)), job.texts, job.decode);
}
if (job.second) {
  const { Tokenizer: Second } = createRequire(import.meta.url)("@huggingface/tokenizers");
  const file = JSON.parse(whole(job.second));
  const tokenizer = new Second(file, {});
  for (const text of job.texts) {
    try {
      say(tokenizer.encode(text, { add_special_tokens: false }).ids);
    } catch {
      say(null);
    }
  }
}
for (const pattern of job.patterns ?? []) {
  say(
    attempt(() => {
      const p = withComponent({ pre_tokenizer: split(pattern) }).getPreTokenizer();
      return { hits: job.texts.map((t) => p.preTokenizeString(t).map((x) => x[1])) };
    }),
  );
}
for (const pattern of job.sets ?? []) say(attempt(() => ranges(pattern)));
for (const normalizer of job.normalizers ?? []) {
  const n = withComponent({ normalizer }).getNormalizer();
  say(job.texts.map((t) => n.normalizeString(t)));
}
for (const pre_tokenizer of job.splits ?? []) {
  const p = withComponent({ pre_tokenizer }).getPreTokenizer();
  say(job.texts.map((t) => p.preTokenizeString(t).map((x) => x[0])));
}
