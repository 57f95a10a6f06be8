// Encodes texts with the official implementation.
//
// stdin:  {"tokenizer": "<contents of tokenizer.json>", "texts": ["..."]}
// stdout: one JSON line per text: {ids, offsets, fullIds, fullOffsets, decoded, skipped}
// Offsets count characters (Unicode scalar values), as this binding reports them.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const { Tokenizer } = createRequire(import.meta.url)("tokenizers");

const job = JSON.parse(readFileSync(0, "utf8"));
const tokenizer = Tokenizer.fromString(job.tokenizer);
const lines = [];
for (const text of job.texts) {
  const plain = await tokenizer.encode(text, null, { addSpecialTokens: false });
  const full = await tokenizer.encode(text, null, { addSpecialTokens: true });
  const ids = plain.getIds();
  const fullIds = full.getIds();
  lines.push(
    JSON.stringify({
      ids,
      offsets: plain.getOffsets(),
      fullIds,
      fullOffsets: full.getOffsets(),
      decoded: ids.length ? await tokenizer.decode(ids, false) : "",
      skipped: fullIds.length ? await tokenizer.decode(fullIds, true) : "",
    }),
  );
}
process.stdout.write(lines.join("\n") + "\n");
