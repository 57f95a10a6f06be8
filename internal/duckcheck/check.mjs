// Reads a data set folder and a run folder with DuckDB and compares every
// table's columns and types with docs/formats.md.
//
//   node check.mjs FORMATS.md DATASET RUN
import { readFileSync } from "node:fs";
import { DuckDBInstance } from "@duckdb/node-api";

const [formats, dataset, run] = process.argv.slice(2);

// documented maps a heading of formats.md to its columns and types.
function documented(text) {
  const tables = {};
  let heading;
  for (const line of text.split("\n")) {
    const title = line.match(/^## (\S+)$/);
    if (title) heading = title[1];
    const row = line.match(/^\| `(\w+)` \| (\S+) \|/);
    if (row && heading) (tables[heading] ??= []).push([row[1], row[2]]);
  }
  return tables;
}

const places = {
  "edits.parquet": `${dataset}/edits.parquet`,
  "probes.parquet": `${dataset}/probes.parquet`,
  "rejects.parquet": `${dataset}/rejects.parquet`,
  "entities.parquet": `${dataset}/entities.parquet`,
  "facts.parquet": `${dataset}/facts.parquet`,
  "results/": `${run}/results/*.parquet`,
  "base/": `${run}/base/*.parquet`,
  "applied/": `${run}/applied/*.parquet`,
  "costs/": `${run}/costs/*.parquet`,
  "summary.parquet": `${run}/summary.parquet`,
};

const db = await (await DuckDBInstance.create()).connect();
const tables = documented(readFileSync(formats, "utf8"));
let passed = 0, failed = 0;
for (const [name, place] of Object.entries(places)) {
  try {
    const described = (await db.runAndReadAll(`DESCRIBE SELECT * FROM read_parquet('${place}')`)).getRows();
    const found = described.map(([column, type]) => [column, type.replace(/STRUCT\(.*\)/, "STRUCT(...)")]);
    const want = JSON.stringify(tables[name]);
    if (JSON.stringify(found) !== want) throw new Error(`columns differ\n  documented ${want}\n  found      ${JSON.stringify(found)}`);
    const [[rows]] = (await db.runAndReadAll(`SELECT count(*) FROM read_parquet('${place}')`)).getRows();
    if (rows === 0n) throw new Error("no rows");
    console.log(`ok      ${name}: ${found.length} columns, ${rows} rows`);
    passed++;
  } catch (e) {
    console.log(`FAILED  ${name}: ${e.message}`);
    failed++;
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
