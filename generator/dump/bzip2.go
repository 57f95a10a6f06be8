package dump

import (
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"sync"
)

// A bzip2 file is a row of segments that begin anywhere within a byte: blocks,
// which can be decompressed on their own, and ends of streams. Each begins with
// a magic number of 48 bits.
const (
	blockMagic = 0x314159265359
	endMagic   = 0x177245385090
	magicBits  = 48
	crcBits    = 32
)

// segment is what lies between two magic numbers, the first one included.
type segment struct {
	at    int64 // byte of the file in which it begins
	block bool  // else the end of a stream
	bits  bits

	done chan struct{} // closed once text and err are set
	text []byte
	err  error
}

// parallelBzip2 decompresses blocks side by side and yields them in order. The
// magic number of a block can also stand inside one, by chance: once in 2^48
// bits. The block then cannot be decompressed, but joined with its neighbour.
type parallelBzip2 struct {
	order chan *segment
	quit  chan struct{}
	once  sync.Once

	rest []byte // of the block at hand
	err  error
}

func newBzip2(in io.ByteReader, workers int) *parallelBzip2 {
	workers = max(workers, 1)
	// A segment holds a block of at most 900 kB and what became of it.
	z := &parallelBzip2{order: make(chan *segment, 2*workers), quit: make(chan struct{})}
	jobs := make(chan *segment)
	for range workers {
		go func() {
			for s := range jobs {
				if s.block {
					s.text, s.err = s.bits.decompress()
				}
				close(s.done)
			}
		}()
	}
	go func() {
		defer close(z.order)
		defer close(jobs)
		z.split(in, jobs)
	}()
	return z
}

// stop ends the goroutines once they have done what they are at.
func (z *parallelBzip2) stop() { z.once.Do(func() { close(z.quit) }) }

// split cuts the file into segments.
func (z *parallelBzip2) split(in io.ByteReader, jobs chan<- *segment) {
	send := func(s *segment) bool {
		s.done = make(chan struct{})
		if s.err != nil {
			close(s.done)
		} else {
			select {
			case jobs <- s:
			case <-z.quit:
				return false
			}
		}
		select {
		case z.order <- s:
			return true
		case <-z.quit:
			return false
		}
	}
	const mask = 1<<magicBits - 1
	var window uint64
	var at int64
	cur := &segment{} // what comes before the first magic number: the file's header
	for ; ; at++ {
		c, err := in.ReadByte()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			send(&segment{at: at, err: err})
			return
		}
		window = window<<8 | uint64(c)
		begin := -1 // bits of c that lie behind the magic number
		for shift := range 8 {
			if m := window >> shift & mask; m == blockMagic || m == endMagic {
				begin = shift
				break
			}
		}
		if begin < 0 {
			cur.bits.add(uint64(c), 8)
			continue
		}
		// The magic number has 48 bits, of which 8-begin are in c.
		cur.bits.drop(magicBits - (8 - begin))
		if cur.at > 0 && !send(cur) {
			return
		}
		magic := window >> begin & mask
		cur = &segment{at: at - 5, block: magic == blockMagic}
		cur.bits.add(magic, magicBits)
		cur.bits.add(uint64(c)&(1<<begin-1), begin)
	}
	if cur.block || cur.bits.n < magicBits+crcBits {
		cur = &segment{at: at, err: io.ErrUnexpectedEOF}
	}
	send(cur)
}

func (z *parallelBzip2) Read(p []byte) (int, error) {
	for len(z.rest) == 0 && z.err == nil {
		z.rest, z.err = z.next()
	}
	if len(z.rest) == 0 {
		return 0, z.err
	}
	n := copy(p, z.rest)
	z.rest = z.rest[n:]
	return n, nil
}

// next returns the text of the next segment.
func (z *parallelBzip2) next() ([]byte, error) {
	s := z.take()
	if s == nil {
		return nil, io.EOF
	}
	if s.err == nil || !s.block {
		return s.text, s.err
	}
	follower := z.take()
	if follower == nil || follower.bits.n == 0 {
		return nil, fmt.Errorf("bzip2: block at byte %d: %w", s.at, s.err)
	}
	s.bits.join(&follower.bits)
	text, err := s.bits.decompress()
	if err != nil {
		return nil, fmt.Errorf("bzip2: block at byte %d: %w", s.at, s.err)
	}
	return text, nil
}

// take waits for the next segment; nil is the end.
func (z *parallelBzip2) take() *segment {
	s, ok := <-z.order
	if !ok {
		return nil
	}
	<-s.done
	return s
}

// bits is a string of bits, most significant first.
type bits struct {
	bytes []byte // the last one holds n%8 bits, if that is not 0
	n     int
}

// add appends the lower width bits of v.
func (b *bits) add(v uint64, width int) {
	for width > 0 {
		free := -b.n & 7 // in the last byte
		if free == 0 {
			b.bytes = append(b.bytes, 0)
			free = 8
		}
		k := min(free, width)
		part := byte(v>>(width-k)) & (1<<k - 1)
		b.bytes[len(b.bytes)-1] |= part << (free - k)
		b.n += k
		width -= k
	}
}

// drop takes away the last width bits; there may be fewer.
func (b *bits) drop(width int) {
	b.n = max(b.n-width, 0)
	b.bytes = b.bytes[:(b.n+7)/8]
	if used := b.n & 7; used > 0 {
		b.bytes[len(b.bytes)-1] &= 0xff << (8 - used)
	}
}

func (b *bits) join(o *bits) {
	whole := o.n / 8
	for _, c := range o.bytes[:whole] {
		b.add(uint64(c), 8)
	}
	if left := o.n & 7; left > 0 {
		b.add(uint64(o.bytes[whole]>>(8-left)), left)
	}
}

// decompress makes a stream of the one block and reads it. The checksum of a
// stream with one block is that of the block, which follows its magic number.
func (b *bits) decompress() ([]byte, error) {
	if b.n < magicBits+crcBits {
		return nil, io.ErrUnexpectedEOF
	}
	var crc uint64
	for _, c := range b.bytes[magicBits/8 : (magicBits+crcBits)/8] {
		crc = crc<<8 | uint64(c)
	}
	var stream bits
	stream.bytes = make([]byte, 0, len(b.bytes)+32)
	stream.add(uint64('B')<<24|uint64('Z')<<16|uint64('h')<<8|uint64('9'), 32)
	stream.join(b)
	stream.add(endMagic, magicBits)
	stream.add(crc, crcBits)
	return io.ReadAll(bzip2.NewReader(bytes.NewReader(stream.bytes)))
}
