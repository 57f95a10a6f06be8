// Package orttest opens ONNX Runtime for tests. Models are run for real in
// tests or not at all: where the library is not installed such tests are
// skipped, unless EDITPIPE_REQUIRE_ORT=1 says that it has been installed.
package orttest

import (
	"context"
	"errors"
	"os"
	"testing"

	"editpipe/ort"
)

// Required names the variable that makes a missing library a failure.
const Required = "EDITPIPE_REQUIRE_ORT"

// Find returns the library, or skips or fails the test.
func Find(t testing.TB) ort.Library {
	t.Helper()
	lib, err := ort.Find("")
	var missing *ort.MissingError
	if errors.As(err, &missing) && os.Getenv(Required) != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return lib
}

// Open opens the runtime for the time of the test. A process has one open
// environment, so such tests do not run in parallel.
func Open(t testing.TB) *ort.Env {
	t.Helper()
	env, err := ort.Open(context.Background(), Find(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Close(); err != nil {
			t.Error(err)
		}
	})
	return env
}
