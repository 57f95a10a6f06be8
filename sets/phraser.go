package sets

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"editpipe/file"
	"editpipe/generator"
)

// PhrasingsFile holds what a phraser was asked and what it answered.
const PhrasingsFile = "phrasings.jsonl"

const (
	// answerTime is how long a phraser may think about one question.
	answerTime = 2 * time.Minute
	// recordEvery is how much of a phraser's work a generation that is killed loses
	// at most.
	recordEvery = 10 * time.Second
)

// ErrPhraser is returned when the command that words questions anew does not
// start, ends, keeps silent or breaks its protocol.
var ErrPhraser = errors.New("phraser failed")

// phraser words questions through a command: for each it gets one line of JSON
// (generator.PhraseRequest) on standard input and gives one, {"id": …, "text":
// …}, on standard output. All answers are recorded beside the set, and a
// question that was answered before is not asked again: language models may
// answer otherwise the next time, the record does not.
type phraser struct {
	command string
	path    string
	wait    time.Duration
	earlier []phrasing        // the record of the generation before
	known   map[string]string // answers, by request
	record  []phrasing        // of this generation, in order
	every   time.Duration     // between two writings of the record
	written time.Time

	process *exec.Cmd
	stop    context.CancelFunc
	in      io.WriteCloser
	out     chan []byte // lines; closed where they end
	said    bytes.Buffer
}

// phrasing is a line of PhrasingsFile. The first line names the command alone.
type phrasing struct {
	Command string                   `json:"command,omitempty"`
	Request *generator.PhraseRequest `json:"request,omitempty"`
	Text    string                   `json:"text,omitempty"`
}

// newPhraser reads the record of the folder, if it has one.
func newPhraser(command, dir string) (*phraser, error) {
	p := &phraser{command: command, path: filepath.Join(dir, PhrasingsFile), wait: answerTime, every: recordEvery, written: time.Now(), known: map[string]string{}}
	if len(strings.Fields(command)) == 0 {
		return nil, fmt.Errorf("sets: %w: the command is empty", ErrPhraser)
	}
	data, err := os.ReadFile(p.path)
	if errors.Is(err, os.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("sets: reading the phraser's record: %w", err)
	}
	line := 0
	for text := range bytes.Lines(data) {
		line++
		var l phrasing
		if err := json.Unmarshal(text, &l); err != nil {
			return nil, fmt.Errorf("sets: %s, line %d: %w; remove the file to ask again", p.path, line, err)
		}
		switch {
		case l.Request != nil:
			p.known[requestKey(*l.Request)] = l.Text
			p.earlier = append(p.earlier, l)
		case l.Command != command:
			return nil, fmt.Errorf("sets: %s was made by the command %q, not by %q: name another --out, or remove the file to ask again", p.path, l.Command, command)
		}
	}
	return p, nil
}

// requestKey is the request's text: equal requests have equal keys.
func requestKey(r generator.PhraseRequest) string {
	data, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings alone
	}
	return string(data)
}

// Phrase gives the recorded wording, or asks the command for one.
func (p *phraser) Phrase(ctx context.Context, r generator.PhraseRequest) (string, error) {
	k := requestKey(r)
	text, ok := p.known[k]
	if !ok {
		var err error
		if text, err = p.ask(ctx, r.ID, k); err != nil {
			return "", err
		}
		p.known[k] = text
	}
	p.record = append(p.record, phrasing{Request: &r, Text: text})
	if !ok && time.Since(p.written) >= p.every {
		if err := p.write(false); err != nil {
			return "", err
		}
	}
	return text, nil
}

func (p *phraser) ask(ctx context.Context, id, request string) (string, error) {
	if p.process == nil {
		if err := p.start(); err != nil {
			return "", err
		}
	}
	if _, err := io.WriteString(p.in, request+"\n"); err != nil {
		return "", p.fault("asking: %w", err)
	}
	late := time.NewTimer(p.wait)
	defer late.Stop()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case <-late.C:
		return "", p.fault("no answer to %s within %s", id, p.wait)
	case line, ok := <-p.out:
		if !ok {
			return "", p.fault("it ended before it answered %s", id)
		}
		var answer struct{ ID, Text string }
		if err := json.Unmarshal(line, &answer); err != nil {
			return "", p.fault("the answer to %s is no JSON object with id and text: %q", id, line)
		}
		if answer.ID != id {
			return "", p.fault("asked about %s, it answered about %q", id, answer.ID)
		}
		return answer.Text, nil
	}
}

// start runs the command: a program and its arguments, without a shell.
func (p *phraser) start() error {
	words := strings.Fields(p.command)
	ctx, stop := context.WithCancel(context.Background())
	p.process, p.stop = exec.CommandContext(ctx, words[0], words[1:]...), stop
	p.process.Stderr = &p.said
	p.process.WaitDelay = time.Second
	var err error
	if p.in, err = p.process.StdinPipe(); err != nil {
		return p.fault("%w", err)
	}
	out, err := p.process.StdoutPipe()
	if err != nil {
		return p.fault("%w", err)
	}
	if err := p.process.Start(); err != nil {
		p.process = nil
		return p.fault("%w", err)
	}
	p.out = make(chan []byte)
	go func() {
		defer close(p.out)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			select {
			case p.out <- bytes.Clone(lines.Bytes()):
			case <-ctx.Done():
				return
			}
		}
	}()
	return nil
}

// fault stops the command and says what went wrong, with the end of what it
// wrote to standard error.
func (p *phraser) fault(format string, args ...any) error {
	p.end()
	const shown = 300
	said := strings.TrimSpace(p.said.String())
	if len(said) > shown {
		said = "…" + said[len(said)-shown:]
	}
	if said != "" {
		said = "; it said: " + said
	}
	return fmt.Errorf("%w: %s: %w%s", ErrPhraser, p.command, fmt.Errorf(format, args...), said)
}

// end stops the command, whose answers have been read.
func (p *phraser) end() {
	if p.process == nil {
		return
	}
	_ = p.in.Close()
	p.stop()
	_ = p.process.Wait() // it was told to end; how it did says nothing
	p.process = nil
}

// close ends the command and writes the record.
func (p *phraser) close(done bool) error {
	p.end()
	if len(p.record) == 0 && !done {
		return nil
	}
	return p.write(done)
}

// write writes the record. Where the generation is not done it keeps what was
// answered before, so that no question is asked twice.
func (p *phraser) write(done bool) error {
	p.written = time.Now()
	lines := append([]phrasing{{Command: p.command}}, p.record...)
	if !done {
		asked := map[string]bool{}
		for _, l := range p.record {
			asked[requestKey(*l.Request)] = true
		}
		lines = append(lines, slices.DeleteFunc(p.earlier, func(l phrasing) bool { return asked[requestKey(*l.Request)] })...)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for _, l := range lines {
		if err := enc.Encode(l); err != nil {
			return fmt.Errorf("sets: writing the phraser's record: %w", err)
		}
	}
	return file.Write(p.path, b.Bytes())
}
