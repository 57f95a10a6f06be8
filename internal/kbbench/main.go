// Command kbbench measures how fast a knowledge base is built from a dump, next
// to decompressing the dump alone in the same run; how much memory that takes;
// how fast the result is opened; and whether a build that is killed repeatedly
// produces the same files. Build and opening run in processes of their own, so
// that each has its own peak of memory.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"editpipe/file"
	"editpipe/generator/catalogue"
	"editpipe/generator/dump"
	"editpipe/generator/kb"
	"editpipe/generator/shards"
)

func main() {
	from := flag.String("dump", "", "dump to read")
	out := flag.String("out", "", "folder to write into; emptied first")
	kills := flag.Int("kills", 0, "times to kill a second build, which is then compared with the first")
	child := flag.String("child", "", "part that a process of its own does: decompress, build, open")
	flag.Parse()
	var err error
	switch *child {
	case "decompress":
		err = decompress(*from)
	case "build":
		err = build(*from, *out)
	case "open":
		err = open(*out)
	default:
		err = run(*from, *out, *kills)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kbbench:", err)
		os.Exit(1)
	}
}

func run(from, out string, kills int) error {
	whole, killed := filepath.Join(out, "whole"), filepath.Join(out, "killed")
	for _, dir := range []string{whole, killed} {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	text, alone, err := measure("decompress", from, whole)
	if err != nil {
		return err
	}
	var size int64
	if _, err := fmt.Sscan(text, &size); err != nil {
		return err
	}
	mb := float64(size) / 1e6
	fmt.Printf("dump            %.0f MB, %.0f MB compressed (%.1f to 1); %d processors\n", mb, float64(info.Size())/1e6, float64(size)/float64(info.Size()), runtime.GOMAXPROCS(0))
	fmt.Printf("decompression   %v, %.0f MB/s\n", alone, mb/alone.wall)
	text, took, err := measure("build", from, whole)
	if err != nil {
		return err
	}
	fmt.Printf("build           %v, %.0f MB/s, %.0f %% of decompression\n%s", took, mb/took.wall, 100*alone.wall/took.wall, text)
	text, opened, err := measure("open", from, whole)
	if err != nil {
		return err
	}
	fmt.Printf("open            %v\n%s", opened, text)
	if kills == 0 {
		return nil
	}
	return killAndCompare(from, whole, killed, kills, time.Duration(took.wall*float64(time.Second)))
}

// usage is what a part has taken, in seconds. On a machine with other work the
// time of the processors says more than that of the clock.
type usage struct{ wall, processors float64 }

func (u usage) String() string {
	return fmt.Sprintf("%.1f s, %.1f s of processors", u.wall, u.processors)
}

// measure has a process of its own do a part, and returns what it printed.
func measure(what, from, out string) (string, usage, error) {
	cmd := part(what, from, out)
	start := time.Now()
	text, err := cmd.Output()
	if err != nil {
		return "", usage{}, fmt.Errorf("%s: %w", what, err)
	}
	return string(text), usage{time.Since(start).Seconds(), (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()}, nil
}

// decompress reads the dump, does nothing with it, and prints its size.
func decompress(from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := dump.Open(f, runtime.GOMAXPROCS(0))
	if err != nil {
		return err
	}
	defer text.Close()
	n, err := io.Copy(io.Discard, text)
	fmt.Println(n)
	return err
}

// part is this program once more, to do one thing.
func part(what, from, out string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-child", what, "-dump", from, "-out", out)
	cmd.Stderr = os.Stderr
	return cmd
}

func load() (*catalogue.Catalogue, error) {
	return catalogue.Load(bytes.NewReader(catalogue.General()))
}

func build(from, out string) error {
	c, err := load()
	if err != nil {
		return err
	}
	steps, step, begun := "", "", time.Now()
	m, err := shards.Build{Dump: from, Out: out, Catalogue: c, CatalogueHash: "built in", MaxErrors: 0, Observe: func(p shards.Progress) {
		if p.Step != step {
			steps += fmt.Sprintf(" %.1f s %s,", time.Since(begun).Seconds(), step)
			step, begun = p.Step, time.Now()
		}
	}}.Do(context.Background())
	if err != nil {
		return err
	}
	steps += fmt.Sprintf(" %.1f s %s", time.Since(begun).Seconds(), step)
	fmt.Printf("                %d entities and %d facts of %d lines; %d lines passed over, %d items not named\n", m.Entities, m.Facts, m.Lines, m.Filtered, m.Unnamed)
	fmt.Printf("               %s; %s\n", steps, peak())
	return nil
}

func open(dir string) error {
	c, err := load()
	if err != nil {
		return err
	}
	f, err := shards.Open(dir)
	if err != nil {
		return err
	}
	b := kb.NewBuilder(c, kb.Date{}, f.Arguments.Dump)
	err = f.Entities(context.Background(), func(e *kb.Entity) error {
		b.Add(e)
		return nil
	})
	if err != nil {
		return err
	}
	base, err := b.Build()
	if err != nil {
		return err
	}
	fmt.Printf("                %d items; %s\n", base.Len(), peak())
	return nil
}

// peak is the most memory this process has held.
func peak() string {
	status, err := os.ReadFile("/proc/self/status") // only Linux has it
	if err != nil {
		return "peak of memory unknown here"
	}
	for line := range strings.Lines(string(status)) {
		if size, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			var kib int
			if _, err := fmt.Sscan(size, &kib); err == nil {
				return fmt.Sprintf("peak %.0f MB", float64(kib)*1.024/1000)
			}
		}
	}
	return "peak of memory unknown here"
}

// killAndCompare kills a build at moments spread over its work, lets it finish,
// and compares all its files with those of the build that was not killed.
func killAndCompare(from, whole, killed string, kills int, took time.Duration) error {
	hit := 0
	for i := range kills {
		cmd := part("build", from, killed)
		if err := cmd.Start(); err != nil {
			return err
		}
		// A build passes over what is done, so each try gets further than the last.
		timer := time.AfterFunc(took*time.Duration(i+1)/time.Duration(kills+1), func() { _ = cmd.Process.Kill() }) // it may have ended
		if cmd.Wait() != nil {
			hit++
		}
		timer.Stop()
	}
	if out, err := part("build", from, killed).Output(); err != nil {
		return fmt.Errorf("resumed build: %w\n%s", err, out)
	}
	a, err := contents(whole)
	if err != nil {
		return err
	}
	b, err := contents(killed)
	if err != nil {
		return err
	}
	if !maps.Equal(a, b) || len(a) == 0 {
		return errors.New("the build that was killed and resumed differs from the one that was not")
	}
	fmt.Printf("killed          %d times, resumed: all %d files are the same\n", hit, len(a))
	return nil
}

// contents returns the hash of every file below a folder.
func contents(dir string) (map[string]string, error) {
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		out[name], err = file.Hash(path)
		return err
	})
	return out, err
}
