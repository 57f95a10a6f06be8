package ort

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestParseProvider(t *testing.T) {
	for in, want := range map[string]string{
		"":                               "cpu",
		"cpu":                            "cpu",
		"CPU":                            "cpu",
		"cuda":                           "cuda:use_tf32=0",
		"cuda:device_id=0":               "cuda:use_tf32=0",
		"CUDA:use_tf32=1,device_id=1":    "cuda:device_id=1,use_tf32=1",
		"tensorrt":                       "tensorrt",
		"webgpu":                         "webgpu:preferredLayout=NCHW",
		"webgpu:preferredLayout=NHWC":    "webgpu:preferredLayout=NHWC",
		"openvino:device_type=GPU":       "openvino:device_type=GPU",
		"XNNPACK:intra_op_num_threads=2": "XNNPACK:intra_op_num_threads=2",
	} {
		p, err := ParseProvider(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if p.String() != want {
			t.Errorf("%q prints as %q, want %q", in, p, want)
		}
		again, err := ParseProvider(p.String())
		if err != nil || again.String() != want {
			t.Errorf("%q reads back as %q, %v", p, again, err)
		}
	}
	for _, in := range []string{"cpu:threads=2", "cuda:", "cuda:x", "cuda:=1", "cuda:a=1,a=2", "cuda:a=1,", "my provider", ":a=1", "cuda:a=b c"} {
		if p, err := ParseProvider(in); err == nil {
			t.Errorf("%q accepted as %q", in, p)
		}
	}
}

func TestProbeCPU(t *testing.T) {
	if err := open(t).Probe(t.Context(), Provider{}); err != nil {
		t.Error(err)
	}
}

// Without its libraries a provider fails, names the file, and says where to
// get it; nothing runs on the CPU in its stead.
func TestProbeCUDAMissing(t *testing.T) {
	e := open(t)
	compiled, err := e.Compiled()
	if err != nil {
		t.Fatal(err)
	}
	shared := filepath.Join(filepath.Dir(e.Library().Path), "libonnxruntime_providers_shared.so")
	if _, err := os.Stat(shared); err == nil || runtime.GOOS != "linux" || !slices.Contains(compiled, "CUDAExecutionProvider") {
		t.Skip("this installation has the CUDA libraries, or cannot have them")
	}
	for _, name := range []string{"cuda", "tensorrt"} {
		p, err := ParseProvider(name)
		if err != nil {
			t.Fatal(err)
		}
		_, loadErr := e.NewSession(t.Context(), linear().model(), Options{Provider: p})
		for _, err := range []error{e.Probe(t.Context(), p), loadErr} {
			var missing *ProviderError
			if !errors.As(err, &missing) {
				t.Fatalf("%s: got %v, want a ProviderError", name, err)
			}
			if missing.Missing != shared {
				t.Errorf("%s: missing file %q, want %q", name, missing.Missing, shared)
			}
			wantError(t, err, name, "libonnxruntime_providers_shared.so", "Microsoft.ML.OnnxRuntime.Gpu", "version "+e.Version())
		}
	}
}

func TestProbeUnknown(t *testing.T) {
	e := open(t)
	err := e.Probe(t.Context(), Provider{Name: "Abacus"})
	var unusable *ProviderError
	if !errors.As(err, &unusable) {
		t.Fatalf("got %v, want a ProviderError", err)
	}
	wantError(t, err, "Abacus")
	wantError(t, e.Probe(t.Context(), Provider{Name: "cpu", Options: map[string]string{"x": "1"}}), "takes no options")
}

// Providers of other systems fail as ProviderError, not by running on the CPU.
func TestProbeForeign(t *testing.T) {
	e := open(t)
	foreign := map[string][]string{"linux": {"coreml", "directml"}, "darwin": {"directml", "cuda"}, "windows": {"coreml"}}[runtime.GOOS]
	for _, name := range foreign {
		err := e.Probe(t.Context(), Provider{Name: name})
		var unusable *ProviderError
		if !errors.As(err, &unusable) || unusable.Hint == "" {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// The loader's words decide which file is reported missing.
func TestProviderErrorMissing(t *testing.T) {
	cuda := Provider{Name: "cuda"}
	for said, want := range map[string]string{
		"Failed to load library /a/libonnxruntime_providers_shared.so with error: /a/libonnxruntime_providers_shared.so: cannot open shared object file: No such file or directory": "/a/libonnxruntime_providers_shared.so",
		"Failed to load library /a/libonnxruntime_providers_cuda.so with error: libcublasLt.so.12: cannot open shared object file: No such file or directory":                       "libcublasLt.so.12",
		`Error loading "C:\a\onnxruntime_providers_cuda.dll" which depends on "cudart64_12.dll" which is missing.`:                                                                  `cudart64_12.dll`,
		"something else": "",
	} {
		e := cuda.fail(errors.New(said), "1.2.3")
		if e.Missing != want {
			t.Errorf("%q: missing %q, want %q", said, e.Missing, want)
		}
		if !strings.HasSuffix(want, ".12") && !strings.HasSuffix(want, ".dll") && !strings.Contains(e.Hint, "version 1.2.3") {
			t.Errorf("%q: the hint is %q, want it to name the release", said, e.Hint)
		}
	}
}

// The names of the list are the runtime's own: what it says is compiled in can
// be named.
func TestKnownProviders(t *testing.T) {
	e := open(t)
	compiled, err := e.Compiled()
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, p := range KnownProviders() {
		listed[p.full] = true
		if parsed, err := ParseProvider(p.Name); err != nil || parsed.Name != p.Name || !parsed.runs(p.full) {
			t.Errorf("%s: %+v, %v", p.Name, parsed, err)
		}
	}
	for _, name := range compiled {
		if !listed[name] && e.Library().Release != "" && runtime.GOOS == "linux" {
			t.Errorf("the library has %s, which has no entry", name)
		}
	}
}
