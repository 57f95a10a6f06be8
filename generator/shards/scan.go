package shards

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"sync/atomic"
	"time"

	"editpipe/file"
	"editpipe/generator/dump"
	"editpipe/generator/kb"
)

// state says how far the reading of a dump is: the shards before it are on disk.
// It is written behind every shard and is what a later run goes on from.
type state struct {
	Shards int    `json:"shards"` // finished
	Done   bool   `json:"done"`   // the dump was read to its end
	SHA256 string `json:"sha256"` // then: of the dump as it lies on disk
	Bytes  int64  `json:"bytes"`  // of the dump's text
	Sum    uint32 `json:"crc32c"` // of these bytes
	Lines  int    `json:"lines"`

	Filtered  int              `json:"filtered"`  // lines in which nothing of use stands
	Unpopular int              `json:"unpopular"` // items with too few sitelinks
	Entities  int              `json:"entities"`  // kept, for the time being
	Broken    map[kb.Fault]int `json:"broken"`
	First     []LineNote       `json:"first"` // broken lines, up to shownLines
	Newest    kb.Date          `json:"newest"`
}

// LineNote is a line of the dump that could not be read.
type LineNote struct {
	Line  int      `json:"line"`
	Fault kb.Fault `json:"fault"`
	Error string   `json:"error"`
}

// shownLines is how many broken lines are named one by one.
const shownLines = 20

func (s *state) broken() int {
	n := 0
	for _, k := range s.Broken {
		n += k
	}
	return n
}

// part is a block of the dump on its way: cut by the reader, parsed by a worker,
// taken by the collector, and then used again for its memory.
type part struct {
	dump.Block
	closes bool   // the last one of its shard
	sum    uint32 // of the dump up to its end
	err    error  // of reading; nothing comes behind it

	parsed chan struct{} // closed once the rest is set
	state  state         // what it adds; Bytes, SHA256 and Shards are not set
	record []byte
	ids    questions
}

// reset empties a part; its memory stays.
func (p *part) reset() {
	for i := range p.ids {
		p.ids[i] = p.ids[i][:0]
	}
	*p = part{Block: dump.Block{Text: p.Text}, record: p.record[:0], ids: p.ids, parsed: make(chan struct{})}
}

// scan reads what is left of the dump and writes the records of its shards.
func (b Build) scan(ctx context.Context, w *work, in io.Reader, seen *atomic.Int64, size int64) error {
	raw := &counted{in, sha256.New(), seen}
	text, err := dump.Open(raw, w.workers)
	if err != nil {
		return fmt.Errorf("shards: opening the dump: %w", err)
	}
	defer text.Close()
	if err := b.passOver(ctx, w, text, seen, size); err != nil {
		return err
	}
	w.begin("scan") // the rate and the time left are those of what is new
	passed, from := seen.Load(), w.state.Bytes
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	jobs, order := make(chan *part, w.workers), make(chan *part, w.workers)
	free := make(chan *part, 2*w.workers+2) // bounds the blocks in memory
	for range cap(free) {
		free <- &part{}
	}
	for range w.workers {
		go func() {
			for p := range jobs {
				b.parse(p, w.filter)
				close(p.parsed)
			}
		}()
	}
	go func() {
		defer close(order)
		defer close(jobs)
		b.cut(ctx, dump.NewBlocks(text, b.blockBytes, w.state.Bytes, w.state.Lines), w.state.Sum, free, jobs, order)
	}()
	err = b.collect(ctx, w, order, free, func() {
		p := w.pending
		b.tell(Progress{Step: w.step, Read: seen.Load() - passed, Size: size - passed, Bytes: p.Bytes - from, Lines: p.Lines, Entities: p.Entities, Elapsed: time.Since(w.started)})
	})
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, raw); err != nil {
		return fmt.Errorf("shards: reading the dump: %w", err)
	}
	done := w.pending
	done.Done, done.SHA256 = true, hex.EncodeToString(raw.hash.Sum(nil))
	return w.save(done)
}

// passOver reads the part of the dump that an earlier run has finished, and
// checks that it is still the same.
func (b Build) passOver(ctx context.Context, w *work, text io.Reader, seen *atomic.Int64, size int64) error {
	buf := make([]byte, 1<<20)
	sum := uint32(0)
	for left := w.state.Bytes; left > 0; {
		n, err := text.Read(buf[:min(left, int64(len(buf)))])
		sum = crc32.Update(sum, castagnoli(), buf[:n])
		left -= int64(n)
		if err != nil && left > 0 {
			if errors.Is(err, io.EOF) {
				return &DifferentError{Dir: b.Out, What: "dump", Have: fmt.Sprintf("at least %d bytes", w.state.Bytes), Want: fmt.Sprintf("%d bytes", w.state.Bytes-left)}
			}
			return fmt.Errorf("shards: reading the dump: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		b.tell(Progress{Step: "passing over what is done", Read: seen.Load(), Size: size, Elapsed: time.Since(w.started), Bytes: w.state.Bytes - left, Lines: w.state.Lines, Entities: w.state.Entities})
	}
	if sum != w.state.Sum {
		return &DifferentError{Dir: b.Out, What: "dump", Have: fmt.Sprintf("the first %d bytes have the checksum %08x", w.state.Bytes, w.state.Sum), Want: fmt.Sprintf("%08x", sum)}
	}
	return nil
}

// castagnoli is the table of CRC-32C, which processors compute by themselves.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// cut reads blocks and sends each to a worker and, in order, to the collector.
func (b Build) cut(ctx context.Context, blocks *dump.Blocks, sum uint32, free <-chan *part, jobs, order chan<- *part) {
	first := int64(-1) // byte at which the shard begins
	for {
		var p *part
		select {
		case p = <-free:
		case <-ctx.Done():
			return
		}
		p.reset()
		p.Block, p.err = blocks.Next(p.Text)
		if p.err == nil {
			sum = crc32.Update(sum, castagnoli(), p.Text)
			if first < 0 {
				first = p.At
			}
			if p.closes = p.At+int64(len(p.Text))-first >= b.shardBytes; p.closes {
				first = -1
			}
		}
		p.sum = sum
		if p.err != nil {
			close(p.parsed)
		} else {
			select {
			case jobs <- p:
			case <-ctx.Done():
				return
			}
		}
		select {
		case order <- p:
		case <-ctx.Done():
			return
		}
		if p.err != nil {
			return
		}
	}
}

// parse turns the lines of a block into records.
func (b Build) parse(p *part, f *kb.Filter) {
	out := &encoder{buf: p.record}
	s := &p.state
	s.Broken = map[kb.Fault]int{}
	fail := func(line int, fault kb.Fault, err error) {
		if s.Broken[fault]++; len(s.First) < shownLines {
			s.First = append(s.First, LineNote{line, fault, err.Error()})
		}
	}
	line := p.Line - 1
	for text := range bytes.Lines(p.Text) {
		line++
		s.Lines++
		if text = bytes.TrimSpace(text); len(text) == 0 || string(text) == "[" || string(text) == "]" {
			continue
		}
		if f.Look(text) == kb.Never {
			// Not parsed, but a line that was cut short shows at its ends.
			if s.Filtered++; !whole(text) {
				fail(line, kb.FaultSyntax, errors.New("no object from end to end"))
			}
			continue
		}
		for e, err := range kb.ParseRow(text, f) {
			switch {
			case err != nil:
				fail(line, err.Fault, err.Err)
			case e.Type == "item" && e.Sitelinks < b.MinSitelinks:
				s.Unpopular++
			default:
				s.Entities++
				if e.Modified.After(s.Newest) {
					s.Newest = e.Modified
				}
				use := f.Use(e)
				out.entity(e, use)
				p.ids.about(e, use)
			}
		}
	}
	p.record = out.buf
}

// whole tells whether a line begins and ends like an entity.
func whole(line []byte) bool {
	line = bytes.TrimSuffix(line, []byte(","))
	line = bytes.TrimSpace(bytes.TrimSuffix(line, []byte("]")))
	line = bytes.TrimPrefix(bytes.TrimPrefix(line, []byte("\xef\xbb\xbf")), []byte("["))
	return len(line) > 1 && line[0] == '{' && line[len(line)-1] == '}'
}

// collect writes the records of the blocks in their order, and the state behind
// every shard.
func (b Build) collect(ctx context.Context, w *work, order <-chan *part, free chan<- *part, observe func()) error {
	var shard *shardWriter
	defer func() {
		if shard != nil {
			shard.abort()
		}
	}()
	for {
		var p *part
		select {
		case p = <-order:
		case <-ctx.Done():
			return ctx.Err()
		}
		if p == nil {
			return ctx.Err() // the reader stops without a word only when ctx ends
		}
		select {
		case <-p.parsed:
		case <-ctx.Done():
			return ctx.Err()
		}
		end := errors.Is(p.err, io.EOF)
		if p.err != nil && !end {
			return fmt.Errorf("shards: reading the dump: %w; the shards before it are kept", p.err)
		}
		if shard == nil && !end {
			var err error
			if shard, err = w.newShard(); err != nil {
				return err
			}
		}
		if !end {
			if err := shard.add(p); err != nil {
				return err
			}
			w.pending.add(p)
			if n := w.pending.broken(); n > b.MaxErrors {
				return &BrokenError{N: n, Most: b.MaxErrors, First: w.pending.First}
			}
		}
		if p.closes || end {
			next := w.pending
			next.Sum = p.sum
			if shard != nil {
				if err := shard.close(); err != nil {
					return err
				}
				shard = nil
				next.Shards++
			}
			if err := w.save(next); err != nil {
				return err
			}
		}
		observe()
		if end {
			return nil
		}
		free <- p
	}
}

// add counts a block in.
func (s *state) add(p *part) {
	s.Bytes += int64(len(p.Text))
	s.Lines += p.state.Lines
	s.Filtered += p.state.Filtered
	s.Unpopular += p.state.Unpopular
	s.Entities += p.state.Entities
	for fault, n := range p.state.Broken {
		s.Broken[fault] += n
	}
	for _, note := range p.state.First {
		if len(s.First) < shownLines {
			s.First = append(s.First, note)
		}
	}
	if p.state.Newest.After(s.Newest) {
		s.Newest = p.state.Newest
	}
}

// shardWriter writes the records of one shard and keeps its questions.
type shardWriter struct {
	path  string
	idsAt string
	draft *file.Draft
	out   *bufio.Writer
	ids   questions
}

func (w *work) newShard() (*shardWriter, error) {
	s := &shardWriter{path: w.path(records, w.pending.Shards), idsAt: w.path(labelQuestions, w.pending.Shards)}
	var err error
	if s.draft, err = file.CreateDraft(s.path); err != nil {
		return nil, fmt.Errorf("shards: %w", err)
	}
	s.out = bufio.NewWriterSize(s.draft, 1<<20)
	return s, nil
}

func (s *shardWriter) add(p *part) error {
	if _, err := s.out.Write(p.record); err != nil {
		return fmt.Errorf("shards: writing %s: %w", s.path, err)
	}
	for i, q := range p.ids {
		s.ids[i] = append(s.ids[i], q...)
	}
	return nil
}

func (s *shardWriter) close() error {
	err := s.out.Flush()
	if err == nil {
		err = s.draft.Commit()
	}
	if err != nil {
		return fmt.Errorf("shards: writing %s: %w", s.path, err)
	}
	return writeSections(s.idsAt, s.ids[:])
}

// abort leaves nothing of a shard that is not finished. A draft that cannot be
// removed harms nobody: the next run removes it.
func (s *shardWriter) abort() { _ = s.draft.Abort() }

// counted counts and hashes the bytes of the dump as it lies on disk.
type counted struct {
	io.Reader
	hash hash.Hash
	n    *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	c.hash.Write(p[:n])
	return n, err
}
