package none_test

import (
	"testing"

	"editpipe/edit/edittest"
	"editpipe/edit/none"
)

func TestConformance(t *testing.T) {
	edittest.Run(t, none.Method(), edittest.Options{Unchanged: true})
}
