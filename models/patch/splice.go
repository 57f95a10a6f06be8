package patch

import (
	"fmt"
	"iter"
	"maps"
	"slices"

	"editpipe/models/arch"
	"editpipe/tensor"
)

// Splice is a small network that a patch puts between the value at a site and its
// readers. It is data only, so that it is saved and loaded without its method; what a
// kind computes, with which parameters, package graph says. Networks of one kind at
// one site are one of all their units; those of different kinds follow each other in
// order of the kinds.
type Splice struct {
	At     arch.Site
	Kind   string                    // such as graph.Neurons
	Params map[string]*tensor.Tensor // floats
	Where  Where
}

// Where says at which positions of a sequence a splice is in force.
type Where uint8

// The positions of a splice.
const (
	Everywhere Where = iota
	PromptEnd        // the last of the prompt
	FromTarget       // from the first of the target on
)

var whereNames = [...]string{Everywhere: "everywhere", PromptEnd: "prompt_end", FromTarget: "from_target"}

func (w Where) String() string {
	if int(w) < len(whereNames) {
		return whereNames[w]
	}
	return fmt.Sprintf("where(%d)", uint8(w))
}

// parseWhere reads the form that Where.String writes.
func parseWhere(s string) (Where, error) {
	if i := slices.Index(whereNames[:], s); i >= 0 {
		return Where(i), nil
	}
	return 0, fmt.Errorf("unknown positions %q; known are %v", s, whereNames)
}

// names lists the parameters in order.
func (s Splice) names() []string { return slices.Sorted(maps.Keys(s.Params)) }

// Tensors lists the parameters, in order of their names.
func (s Splice) Tensors() []*tensor.Tensor {
	var list []*tensor.Tensor
	for _, name := range s.names() {
		list = append(list, s.Params[name])
	}
	return list
}

// Spliced lists what the patch has of a kind at a site, in order.
func (p *Patch) Spliced(at arch.Site, kind string) iter.Seq[Splice] {
	return func(yield func(Splice) bool) {
		if p == nil {
			return
		}
		for _, s := range p.Splices {
			if s.At == at && s.Kind == kind && !yield(s) {
				return
			}
		}
	}
}

// SplicesOf lists the splices of a side of the model, in order.
func (p *Patch) SplicesOf(side arch.Side) []Splice {
	if p == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(p.Splices), func(s Splice) bool { return s.At.Side != side })
}
