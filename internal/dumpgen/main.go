// Command dumpgen writes an invented dump in the form of Wikidata's, of any
// size, to measure how fast dumps are read. Three lines in ten have properties
// of the built-in catalogue; the others are papers and genes, which make up
// much of Wikidata. Texts in many languages, sitelinks, qualifiers, references
// and their hashes make the lines about as long and as compressible as real
// ones. Equal arguments give equal bytes.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
)

func main() {
	n := flag.Int("n", 100_000, "entities")
	seed := flag.Uint64("seed", 1, "seed")
	out := flag.String("out", "", "file to write, compressed with gzip; - for plain text on standard output")
	flag.Parse()
	if err := run(*n, *seed, *out); err != nil {
		fmt.Fprintln(os.Stderr, "dumpgen:", err)
		os.Exit(1)
	}
}

func run(n int, seed uint64, path string) error {
	if path == "-" {
		w := bufio.NewWriterSize(os.Stdout, 1<<20)
		if err := write(w, n, seed); err != nil {
			return err
		}
		return w.Flush()
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	z := gzip.NewWriter(f)
	w := bufio.NewWriterSize(z, 1<<20)
	if err := write(w, n, seed); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return f.Close()
}

// write writes a dump of n entities; at least the few that others refer to.
func write(w io.Writer, n int, seed uint64) error {
	if _, err := io.WriteString(w, "[\n"); err != nil {
		return err
	}
	world := newWorld(n, seed)
	var line []byte
	for i := range world.n {
		if i > 0 {
			line = append(line[:0], ",\n"...)
		}
		line = world.entity(line, i)
		if _, err := w.Write(line); err != nil {
			return err
		}
		line = line[:0]
	}
	_, err := io.WriteString(w, "\n]\n")
	return err
}
