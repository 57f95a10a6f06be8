package shards

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"editpipe/file"
)

// A file of sections holds several strings of bytes of which each can be read
// alone: their number, where each ends, and then the bytes.

func writeSections(path string, sections [][]byte) (err error) {
	d, err := file.CreateDraft(path)
	if err != nil {
		return fmt.Errorf("shards: %w", err)
	}
	defer d.Abort()
	head := binary.LittleEndian.AppendUint64(nil, uint64(len(sections)))
	end := uint64(0)
	for _, s := range sections {
		end += uint64(len(s))
		head = binary.LittleEndian.AppendUint64(head, end)
	}
	if _, err = d.Write(head); err == nil {
		for _, s := range sections {
			if _, err = d.Write(s); err != nil {
				break
			}
		}
	}
	if err == nil {
		err = d.Commit()
	}
	if err != nil {
		return fmt.Errorf("shards: writing %s: %w", path, err)
	}
	return nil
}

// readSection returns section i.
func readSection(path string, i int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("shards: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("shards: %w", err)
	}
	at := func(k int) (uint64, error) {
		var b [8]byte
		_, err := f.ReadAt(b[:], int64(8*k))
		return binary.LittleEndian.Uint64(b[:]), err
	}
	n, err := at(0)
	if err != nil || n > uint64(info.Size())/8 || i < 0 || uint64(i) >= n {
		return nil, fmt.Errorf("shards: %s: %w", path, errDamaged)
	}
	from := uint64(0)
	if i > 0 {
		from, err = at(i)
	}
	to, err2 := at(i + 1)
	start := 8 * (n + 1)
	if err != nil || err2 != nil || to < from || start+to > uint64(info.Size()) {
		return nil, fmt.Errorf("shards: %s: %w", path, errDamaged)
	}
	out := make([]byte, to-from)
	if _, err := f.ReadAt(out, int64(start+from)); err != nil && err != io.EOF {
		return nil, fmt.Errorf("shards: reading %s: %w", path, err)
	}
	return out, nil
}
