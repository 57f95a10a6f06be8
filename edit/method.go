package edit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"editpipe/models/arch"
	"editpipe/models/patch"
)

// Spec is a method as its package writes it down; C is its configuration, a
// struct whose settable fields carry `set:"key" doc:"text"` tags.
type Spec[C any] struct {
	Name    string // id on the command line and in rows: lower case letters and hyphens
	Title   string // as reports print it
	Paper   string // authors, year, title
	Version int    // counts changes that alter results; part of every unit's identity

	Families  []string // model families the method runs on; nil for all
	Schedules []Kind   // schedules the method defines

	// Base is the configuration for a model of which nothing is published. Keys with
	// a tag share are set to a share of the model's layers.
	Base C
	// Presets are published settings. The first that holds for a model counts.
	Presets []Preset
	// Validate reports faults that tags cannot express; nil where there are none.
	Validate func(c C) error

	// Needs says what an editor will ask of a model, so that a model that lacks it
	// is refused before any work; nil where answers are all it asks for.
	Needs func(c C, info *arch.Info) arch.Need

	// Open makes an editor of a model that gives what Needs asks. It fails where an
	// input it needs is missing, naming what to pass.
	//
	// What the editor is asked to make is checked before: the patch is not nil, no
	// group is empty, and none has several edits where Schedules lacks Batch. Its
	// Make may return an error of its own: it stands for every group that has neither
	// a patch nor an error, and the list may be short then. What a model refuses is
	// turned into ErrUnsupported, and the method named.
	Open func(ctx context.Context, c C, in Env) (Editor, error)
	// Apart says why edits cannot each be made alone with a configuration, although
	// Schedules has Single; nil where they can.
	Apart func(c C) error
	// UsesShown is true when Open reads Env.Shown, so that they decide the
	// result too.
	UsesShown bool
	// UsesTrain is true when Open reads Env.Train, so that the training
	// records decide the result too.
	UsesTrain bool
	// Files lists files besides the artifacts folder whose content decides the
	// result; nil where there are none.
	Files func(c C) ([]string, error)

	// Prepare learns what Open needs and writes it to folder out; nil where the
	// method needs nothing.
	Prepare func(ctx context.Context, c C, in PrepareEnv, out string) error

	// Decoders read back the method's own routes, by their kind; nil where it has none.
	Decoders map[string]patch.RouteDecoder
}

// Method is a method with the type of its configuration put away, so that
// methods can stand in one list. It is made by Define.
type Method struct {
	Name, Title, Paper string
	Version            int
	Families           []string
	Schedules          []Kind
	UsesTrain          bool
	UsesShown          bool
	Presets            []Preset
	HasPrepare         bool
	Decoders           map[string]patch.RouteDecoder

	configure func(info *arch.Info, overrides map[string]string) (Config, error)
	needs     func(c Config, info *arch.Info) arch.Need
	open      func(ctx context.Context, c Config, in Env) (Editor, error)
	apart     func(c Config) error
	files     func(c Config) ([]string, error)
	prepare   func(ctx context.Context, c Config, in PrepareEnv, out string) error
}

// Define turns a Spec into a Method.
func Define[C any](s Spec[C]) Method {
	m := Method{
		Name: s.Name, Title: s.Title, Paper: s.Paper, Version: s.Version,
		Families: s.Families, Schedules: s.Schedules, UsesTrain: s.UsesTrain, UsesShown: s.UsesShown,
		Presets: s.Presets, HasPrepare: s.Prepare != nil, Decoders: s.Decoders,
	}
	m.configure = func(info *arch.Info, overrides map[string]string) (Config, error) {
		c := s.Base
		v := reflect.ValueOf(&c).Elem()
		if err := shares(v, info); err != nil {
			return Config{}, fmt.Errorf("edit: %s: %w", s.Name, err)
		}
		if err := preset(s.Name, v, s.Presets, info); err != nil {
			return Config{}, fmt.Errorf("edit: presets of %s: %w", s.Name, err)
		}
		if err := override(s.Name, v, overrides); err != nil {
			return Config{}, fmt.Errorf("edit: configuring %s: %w", s.Name, err)
		}
		if err := beyond(s.Name, v, info); err != nil {
			return Config{}, fmt.Errorf("edit: configuring %s: %w", s.Name, err)
		}
		if s.Validate != nil {
			if err := s.Validate(c); err != nil {
				return Config{}, fmt.Errorf("edit: configuring %s: %w; %s", s.Name, err, describe(s.Name, keysOf(v)))
			}
		}
		return Config{method: s.Name, value: c, keys: keysOf(v)}, nil
	}
	m.needs = func(c Config, info *arch.Info) arch.Need {
		if s.Needs == nil {
			return arch.Need{}
		}
		return s.Needs(c.value.(C), info)
	}
	m.open = func(ctx context.Context, c Config, in Env) (Editor, error) {
		if s.Needs != nil {
			if err := m.Lacks(c, in.LM.Info()); err != nil {
				return nil, err
			}
		}
		ed, err := s.Open(ctx, c.value.(C), in)
		if err != nil {
			return nil, Wrap(s.Name, "", err)
		}
		return &checked{ed, s.Name, slices.Contains(s.Schedules, Batch)}, nil
	}
	m.apart = func(c Config) error {
		if s.Apart == nil {
			return nil
		}
		return Wrap(s.Name, "", s.Apart(c.value.(C)))
	}
	m.files = func(c Config) ([]string, error) {
		if s.Files == nil {
			return nil, nil
		}
		return s.Files(c.value.(C))
	}
	m.prepare = func(ctx context.Context, c Config, in PrepareEnv, out string) error {
		return Wrap(s.Name, "", s.Prepare(ctx, c.value.(C), in, out))
	}
	return m
}

// Configure gives the effective configuration for a model: what is published for
// it, then overrides by key. An unknown key or a bad value is an error that lists the
// known keys.
func (m Method) Configure(info *arch.Info, overrides map[string]string) (Config, error) {
	return m.configure(info, overrides)
}

// Keys lists the method's keys with their defaults for a model.
func (m Method) Keys(info *arch.Info) ([]Key, error) {
	c, err := m.configure(info, nil)
	return c.keys, err
}

// Open makes an editor; c must come from this method's Configure. It returns
// ErrUnsupported (wrapped) for a model that lacks what the method asks of it.
func (m Method) Open(ctx context.Context, c Config, in Env) (Editor, error) {
	if err := m.own(c); err != nil {
		return nil, err
	}
	return m.open(ctx, c, in)
}

// Apart says why edits cannot each be made alone with a configuration: nil, or an
// error that wraps ErrUnsupported.
func (m Method) Apart(c Config) error {
	if err := m.own(c); err != nil {
		return err
	}
	return m.apart(c)
}

// Files lists files outside the artifacts folder whose content decides the result.
func (m Method) Files(c Config) ([]string, error) {
	if err := m.own(c); err != nil {
		return nil, err
	}
	paths, err := m.files(c)
	return paths, Wrap(m.Name, "", err)
}

// Prepare learns what Open needs and writes it to folder out. It returns
// ErrUnsupported (wrapped) for a method that needs no preparation.
func (m Method) Prepare(ctx context.Context, c Config, in PrepareEnv, out string) error {
	if err := m.own(c); err != nil {
		return err
	}
	if !m.HasPrepare {
		return Wrap(m.Name, "", fmt.Errorf("%w: it needs no preparation", ErrUnsupported))
	}
	return m.prepare(ctx, c, in, out)
}

func (m Method) own(c Config) error {
	if c.method != m.Name {
		return fmt.Errorf("edit: configuration of %q given to method %s", c.method, m.Name)
	}
	return nil
}

// Supports says whether the method defines a schedule on a model: nil, or an
// error that wraps ErrUnsupported and says what it does define.
func (m Method) Supports(s Schedule, info *arch.Info) error {
	var faults []error
	if !slices.Contains(m.Schedules, s.Kind) {
		kinds := make([]string, len(m.Schedules))
		for i, k := range m.Schedules {
			kinds[i] = string(k)
		}
		faults = append(faults, fmt.Errorf("%w %s (defined for: %s)", ErrSchedule, s, strings.Join(kinds, ", ")))
	}
	if m.Families != nil && !slices.Contains(m.Families, info.Family) {
		faults = append(faults, fmt.Errorf("%w: model family %q (defined for: %s)", ErrUnsupported, info.Family, strings.Join(m.Families, ", ")))
	}
	return Wrap(m.Name, "", errors.Join(faults...))
}

// Lacks says whether a model gives what the method, so configured, asks of it:
// nil, or an error that wraps ErrUnsupported and the model's own.
func (m Method) Lacks(c Config, info *arch.Info) error {
	if err := m.own(c); err != nil {
		return err
	}
	if err := arch.Lacks(info, m.needs(c, info)); err != nil {
		return Wrap(m.Name, "", fmt.Errorf("%w: %w", ErrUnsupported, err))
	}
	return nil
}

// Find gives the method of a name. The error lists the names there are.
func Find(methods []Method, name string) (Method, error) {
	names := make([]string, len(methods))
	for i, m := range methods {
		if m.Name == name {
			return m, nil
		}
		names[i] = m.Name
	}
	slices.Sort(names)
	return Method{}, fmt.Errorf("edit: no method %q: want one of %s", name, strings.Join(names, ", "))
}

// Decoders gathers what reads back the routes of all methods, by kind.
func Decoders(methods []Method) map[string]patch.RouteDecoder {
	all := map[string]patch.RouteDecoder{}
	for _, m := range methods {
		maps.Copy(all, m.Decoders)
	}
	return all
}
