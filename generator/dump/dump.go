// Package dump opens dumps, the files that Wikidata publishes: plain or
// compressed with gzip, bzip2 or zstd, which it tells from the first bytes. It
// cuts them into blocks of whole lines that can be processed in parallel.
package dump

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"editpipe/lfs"
)

// Reader is a dump's text.
type Reader struct {
	io.Reader
	close func()
}

// Read reads the text. Where a packed file ends early the error says so and wraps
// io.ErrUnexpectedEOF.
func (r *Reader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("dump: the packed file is cut short: %w", err)
	}
	return n, err
}

// Close ends the decompression. It leaves the reader below open.
func (r *Reader) Close() error {
	r.close()
	return nil
}

// lookahead is how many bytes tell what a file is.
const lookahead = 1024

// ErrWindow is returned for a file that zstd packed with a window of more than 512
// MiB: unpacking takes that much memory at once, whatever the file's size.
var ErrWindow = errors.New("packed by zstd with a window of more than 512 MiB, which is not unpacked here: unpack it first, with zstd --decompress --long=31")

// windowed names what can be done about a window that is too large.
type windowed struct{ z *zstd.Decoder }

func (w windowed) Read(p []byte) (int, error) {
	n, err := w.z.Read(p)
	if errors.Is(err, zstd.ErrWindowSizeExceeded) {
		err = fmt.Errorf("dump: %w", ErrWindow)
	}
	return n, err
}

// Open looks at the first bytes, not at a name, and decompresses what needs
// it. The blocks of bzip2 are decompressed by as many workers as given, at
// least one; gzip has no parts that could be.
func Open(r io.Reader, workers int) (*Reader, error) {
	in := bufio.NewReaderSize(r, 1<<18)
	head, err := in.Peek(lookahead)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("dump: %w", err)
	}
	if err := lfs.Check(head); err != nil {
		return nil, fmt.Errorf("dump: %w", err)
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("dump: %w", err)
		}
		return &Reader{z, func() { _ = z.Close() }}, nil // it only reports what Read has
	case bytes.HasPrefix(head, []byte("BZh")):
		z := newBzip2(in, workers)
		return &Reader{z, z.stop}, nil
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(zstd.MaxWindowSize))
		if err != nil {
			return nil, fmt.Errorf("dump: %w", err)
		}
		return &Reader{windowed{z}, z.Close}, nil
	}
	return &Reader{in, func() {}}, nil
}
