// Package all is the list of methods. No other package names them; a method is
// looked up here by its id.
package all

import (
	"slices"

	"editpipe/edit"
	"editpipe/edit/ftl"
	"editpipe/edit/ike"
	"editpipe/edit/kn"
	"editpipe/edit/memit"
	"editpipe/edit/none"
	"editpipe/edit/patch"
	"editpipe/edit/pmet"
	"editpipe/edit/rome"
)

// Methods lists every method, by folder.
func Methods() []edit.Method {
	return slices.Concat([][]edit.Method{
		ftl.Methods(),
		ike.Methods(),
		{kn.Method()},
		{memit.Method()},
		{none.Method()},
		{patch.Method()},
		{pmet.Method()},
		{rome.Method()},
	}...)
}
