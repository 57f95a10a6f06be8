// Command editpipe edits facts in language models and measures what the edits
// did: see README.md. Each verb has a file of its own, which reads flags, calls
// one package and prints the result.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"editpipe/ort"
)

// Exit codes, a contract with scripts (docs/errors.md).
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitFailedRows  = 3
	exitInterrupted = 130
)

// usageError is a fault of the command line: wrong flag, wrong value.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// errFailedRows is returned when a command finished, but some rows failed.
var errFailedRows = errors.New("finished, but some rows failed")

// errNoNumbers is returned when a command finished and came to nothing.
var errNoNumbers = errors.New("finished, but for nothing")

// errOverLimit is returned when an audit or a comparison finished and found more
// than it may.
var errOverLimit = errors.New("finished, but a threshold was passed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args, os.Stdout, os.Stderr))
}

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	app := newApp(stdout, stderr)
	args, err := flagsFirst(app, args)
	if err == nil {
		err = app.RunContext(ctx, args)
	}
	if err == nil {
		return exitOK
	}
	code := exitFailure
	var usage *usageError
	switch {
	case ctx.Err() != nil || errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "editpipe: interrupted; run the same command again to go on")
		return exitInterrupted
	case errors.As(err, &usage):
		code = exitUsage
	case errors.Is(err, errFailedRows), errors.Is(err, errNoNumbers), errors.Is(err, errOverLimit):
		code = exitFailedRows
	}
	fmt.Fprintf(stderr, "editpipe: %v\n", err)
	if h := hint(err); h != "" {
		fmt.Fprintf(stderr, "hint: %s\n", h)
	}
	return code
}

// hint says what a user can do about an error; the packages below know what is
// wrong, this command knows what it is called.
func hint(err error) string {
	var missing *ort.MissingError
	var provider *ort.ProviderError
	var raw *unpreparedError
	switch {
	case errors.As(err, &raw):
		return strings.Join(raw.hints, "\nhint: ")
	case errors.As(err, &missing):
		return "run `go tool -modfile=tools/go.mod task setup` once, or name a library with --ort-lib or EDITPIPE_ORT_LIB"
	case errors.As(err, &provider):
		return "`editpipe doctor` shows which providers load; docs/providers.md says how to get their libraries"
	}
	return ""
}

func newApp(stdout, stderr io.Writer) *cli.App {
	usage := func(c *cli.Context, err error, _ bool) error {
		return usagef("%w; %s --help lists the flags", err, c.Command.HelpName)
	}
	app := &cli.App{
		Name:                 "editpipe",
		HelpName:             "editpipe",
		Usage:                "edit facts in language models and measure what the edits did",
		Version:              version(),
		Writer:               stdout,
		ErrWriter:            stderr,
		HideHelpCommand:      true,
		EnableBashCompletion: true,
		Suggest:              true,
		OnUsageError:         usage,
		// A prompt of --ask and a value of --set may hold commas.
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {}, // run decides the exit code
		Commands: []*cli.Command{
			kbCommand(), generateCommand(), importCommand(), convertCommand(), auditCommand(),
			inspectCommand(), prepareCommand(), editCommand(), evalCommand(), reportCommand(), compareCommand(), exportCommand(),
			explainCommand(), listCommand(), doctorCommand(), cacheCommand(),
		},
	}
	app.Action = func(c *cli.Context) error {
		if name := c.Args().First(); name != "" {
			return usagef("unknown command %q (known: %s)", name, strings.Join(commandNames(app), ", "))
		}
		return cli.ShowAppHelp(c)
	}
	for _, cmd := range app.Commands {
		cmd.OnUsageError = usage
		cmd.HideHelpCommand = true
		inDecimal(cmd)
	}
	return app
}

func commandNames(app *cli.App) []string {
	var out []string
	for _, c := range app.Commands {
		out = append(out, c.Name)
	}
	return out
}

// flagsFirst moves a command's flags before its arguments: the flag library
// takes everything behind the first argument for arguments. What stands behind
// "--" stays where it is. A flag given twice is an error, unless it takes a list:
// the library would go by the last one.
func flagsFirst(app *cli.App, args []string) ([]string, error) {
	if len(args) > 1 && args[1] == "--" { // says nothing before a command's name
		args = append(args[:1:1], args[2:]...)
	}
	if len(args) < 2 {
		return args, nil
	}
	cmd := app.Command(args[1])
	if cmd == nil {
		return args, nil
	}
	known := map[string]cli.Flag{}
	for _, f := range cmd.Flags {
		for _, name := range f.Names() {
			known[name] = f
		}
	}
	seen := map[cli.Flag]bool{}
	var flags, rest []string
	for i := 2; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			rest = append(rest, args[i:]...)
			break
		}
		name := strings.TrimLeft(a, "-")
		if name == a || name == "" {
			rest = append(rest, a)
			continue
		}
		name, _, hasValue := strings.Cut(name, "=")
		f := known[name]
		if f != nil && seen[f] && !isList(f) {
			return nil, usagef("--%s is given twice, and takes one value", f.Names()[0])
		}
		seen[f] = true
		flags = append(flags, a)
		if _, isBool := f.(*cli.BoolFlag); f != nil && !isBool && !hasValue && i+1 < len(args) {
			i++
			flags = append(flags, args[i])
		}
	}
	return append(append(args[:2:2], flags...), rest...), nil
}

func isList(f cli.Flag) bool {
	_, is := f.(*cli.StringSliceFlag)
	return is
}

// env names the environment variable a flag also reads; an empty one counts as
// unset.
func env(flag string) []string {
	name := variable(flag)
	if value, ok := os.LookupEnv(name); ok && value == "" {
		return nil
	}
	return []string{name}
}

func variable(flag string) string {
	return "EDITPIPE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// noArgs refuses arguments on commands that take flags only.
func noArgs(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("%s takes no argument, got %q", c.Command.Name, c.Args().First())
	}
	return nil
}

// need says which of the flags a command cannot do without are missing. The
// flag library's own check runs before --config is read.
func need(c *cli.Context, flags ...string) error {
	for _, f := range flags {
		if c.String(f) == "" {
			return usagef("%s needs --%s", c.Command.Name, f)
		}
	}
	return nil
}
