package ort

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	onnx "github.com/yalue/onnxruntime_go"

	"editpipe/tensor"
)

// A Provider names the execution provider that runs a model's kernels: cpu,
// cuda, tensorrt, webgpu, coreml, directml, openvino, or any other name the
// library was built with, as the runtime spells it ("XNNPACK"). Options are the
// runtime's own for that provider. The zero value is the CPU.
type Provider struct {
	Name    string
	Options map[string]string
}

var (
	namePattern  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)
	valuePattern = regexp.MustCompile(`^[^,\s]+$`)
)

// ParseProvider reads NAME or NAME:KEY=VALUE,KEY=VALUE, such as
// "cuda:device_id=1,use_tf32=1". The names of the Provider comment may be
// written in any case. "" is the CPU.
func ParseProvider(s string) (Provider, error) {
	name, rest, more := strings.Cut(s, ":")
	p := Provider{Name: name}
	if _, ok := known(strings.ToLower(name)); ok {
		p.Name = strings.ToLower(name)
	}
	if more {
		p.Options = map[string]string{}
		for _, pair := range strings.Split(rest, ",") {
			key, value, _ := strings.Cut(pair, "=")
			if _, twice := p.Options[key]; twice {
				return Provider{}, fmt.Errorf("ort: provider %q: option %q is given twice", s, key)
			}
			p.Options[key] = value
		}
	}
	if err := p.validate(); err != nil {
		return Provider{}, err
	}
	return p.settled(), nil
}

func (p Provider) validate() error {
	if p.cpu() && len(p.Options) > 0 {
		return errors.New("ort: provider cpu takes no options; threads are a setting of the session")
	}
	if p.Name != "" && !namePattern.MatchString(p.Name) {
		return fmt.Errorf("ort: provider name %q: letters, digits and _ only; write NAME:KEY=VALUE,KEY=VALUE", p.Name)
	}
	for key, value := range p.Options {
		if !namePattern.MatchString(key) || !valuePattern.MatchString(value) {
			return fmt.Errorf("ort: provider %s: option %q: write KEY=VALUE", p.Name, key+"="+value)
		}
	}
	return nil
}

// settled makes explicit what the package chooses and drops what means
// nothing, so that equal providers print equal.
func (p Provider) settled() Provider {
	if p.cpu() {
		return Provider{Name: "cpu"}
	}
	options := maps.Clone(p.Options)
	if options == nil {
		options = map[string]string{}
	}
	defaults := map[string][2]string{
		// TF32 keeps 10 bits of mantissa: scores would depend on the card.
		"cuda": {"use_tf32", "0"},
		// The other layout (NHWC) only helps convolutions, and with it the
		// runtime doesn't report which nodes the provider took.
		"webgpu": {"preferredLayout", "NCHW"},
	}
	if d, ok := defaults[p.Name]; ok && options[d[0]] == "" {
		options[d[0]] = d[1]
	}
	if options["device_id"] == "0" {
		delete(options, "device_id") // the first device is every provider's default
	}
	return Provider{Name: p.Name, Options: options}
}

// String gives the canonical form, which ParseProvider reads back: options
// sorted, the package's own choices written out ("cuda:use_tf32=0").
func (p Provider) String() string {
	p = p.settled()
	var b strings.Builder
	b.WriteString(p.Name)
	separator := ":"
	for _, key := range slices.Sorted(maps.Keys(p.Options)) {
		b.WriteString(separator + key + "=" + p.Options[key])
		separator = ","
	}
	return b.String()
}

func (p Provider) cpu() bool { return p.Name == "" || p.Name == "cpu" }

// runs says whether the runtime's provider name is this provider's. For a
// provider the package has no table entry for, that is anything but the CPU.
func (p Provider) runs(name string) bool {
	if want, ok := known(p.Name); ok {
		return name == want
	}
	return name != cpuProvider
}

// ProviderError is returned by Probe and NewSession when a provider cannot be
// used.
type ProviderError struct {
	Provider Provider
	Missing  string // the file that is missing, where the runtime names one
	Hint     string // what to do, or ""
	Err      error  // what the runtime said
}

func (e *ProviderError) Error() string {
	s := fmt.Sprintf("ort: provider %s: ", e.Provider)
	if e.Missing != "" {
		s += fmt.Sprintf("%s is missing: ", e.Missing)
	}
	s += e.Err.Error()
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

func (e *ProviderError) Unwrap() error { return e.Err }

// Of the loaders' messages, "FILE: cannot open shared object file" (glibc) and
// "depends on FILE which is missing" (the runtime on Windows),
// and the runtime's own "Failed to load library FILE".
var (
	loaderFile  = regexp.MustCompile(`([^\s:"]+): cannot open shared object file|depends on "([^"]+)" which is missing`)
	runtimeFile = regexp.MustCompile(`[Ll]oad(?:ing)? library "?([^\s"]+)`)
)

// fail explains why p cannot be used by a release of the runtime.
func (p Provider) fail(err error, version string) *ProviderError {
	e := &ProviderError{Provider: p.settled(), Err: err}
	for _, pattern := range []*regexp.Regexp{loaderFile, runtimeFile} {
		if m := pattern.FindStringSubmatch(err.Error()); m != nil {
			e.Missing = strings.Join(m[1:], "")
			break
		}
	}
	switch p.Name {
	case "cuda", "tensorrt":
		switch {
		case strings.Contains(filepath.Base(e.Missing), "onnxruntime_providers"):
			e.Hint = "put the onnxruntime_providers libraries (shared, cuda, tensorrt) of the NuGet package " + gpuPackage() + ", version " + version + ", beside the ONNX Runtime library"
		case e.Missing != "":
			e.Hint = "it is one of NVIDIA's libraries (CUDA, cuDNN, TensorRT): install it where the system's loader looks"
		default:
			e.Hint = "it needs an NVIDIA GPU with its driver, and the libraries of the NuGet package " + gpuPackage() + ", version " + version
		}
	case "webgpu":
		e.Hint = "it needs a graphics driver (on Linux the Vulkan loader libvulkan.so.1 and a Vulkan driver)"
	case "openvino":
		e.Hint = "it needs an ONNX Runtime library built with OpenVINO; name it with " + EnvLibrary
	case "coreml":
		e.Hint = "it exists on macOS only"
	case "directml":
		e.Hint = "it exists on Windows only, with DirectML.dll beside the ONNX Runtime library"
	}
	return e
}

// gpuPackage names the package that carries the NVIDIA providers.
func gpuPackage() string {
	if runtime.GOOS == "windows" {
		return "Microsoft.ML.OnnxRuntime.Gpu.Windows"
	}
	return "Microsoft.ML.OnnxRuntime.Gpu.Linux"
}

// append registers the provider with a release's session options. The CPU needs no
// registering: the runtime always has it.
func (p Provider) append(so *onnx.SessionOptions, version string) error {
	if err := p.validate(); err != nil {
		return err
	}
	if p.cpu() {
		return nil
	}
	p = p.settled()
	var err error
	switch p.Name {
	case "cuda":
		err = appendCUDA(so, p.Options)
	case "tensorrt":
		// CUDA runs what TensorRT leaves.
		cuda := Provider{Name: "cuda", Options: map[string]string{}}
		if id, ok := p.Options["device_id"]; ok {
			cuda.Options["device_id"] = id
		}
		if err = appendTensorRT(so, p.Options); err == nil {
			err = appendCUDA(so, cuda.settled().Options)
		}
	case "webgpu":
		err = so.AppendExecutionProvider("WebGPU", p.Options)
	case "coreml":
		err = so.AppendExecutionProviderCoreMLV2(p.Options)
	case "directml":
		err = appendDirectML(so, p.Options)
	case "openvino":
		err = so.AppendExecutionProviderOpenVINO(p.Options)
	default:
		err = so.AppendExecutionProvider(p.Name, p.Options)
	}
	if err != nil {
		return p.fail(err, version)
	}
	return nil
}

// appendCUDA updates the options first: that loads the provider's libraries
// and names the one that is missing, which appending doesn't.
func appendCUDA(so *onnx.SessionOptions, options map[string]string) error {
	o, err := onnx.NewCUDAProviderOptions()
	if err != nil {
		return err
	}
	defer func() { _ = o.Destroy() }() // fails only for destroyed options
	if err := o.Update(options); err != nil {
		return err
	}
	return so.AppendExecutionProviderCUDA(o)
}

// appendTensorRT is to TensorRT what appendCUDA is to CUDA. The device is
// always named, since updating with no options would load nothing.
func appendTensorRT(so *onnx.SessionOptions, options map[string]string) error {
	o, err := onnx.NewTensorRTProviderOptions()
	if err != nil {
		return err
	}
	defer func() { _ = o.Destroy() }() // fails only for destroyed options
	named := map[string]string{"device_id": "0"}
	maps.Copy(named, options)
	if err := o.Update(named); err != nil {
		return err
	}
	return so.AppendExecutionProviderTensorRT(o)
}

func appendDirectML(so *onnx.SessionOptions, options map[string]string) error {
	device := 0
	for key, value := range options {
		n, err := strconv.Atoi(value)
		if key != "device_id" || err != nil || n < 0 {
			return fmt.Errorf("option %s=%s: only device_id=NUMBER is known", key, value)
		}
		device = n
	}
	// DirectML doesn't support memory patterns.
	if err := so.SetMemPattern(false); err != nil {
		return err
	}
	return so.AppendExecutionProviderDirectML(device)
}

// Probe registers p on a model of one matrix product, runs it there, and
// checks the product. It returns *ProviderError when p cannot be used.
func (e *Env) Probe(ctx context.Context, p Provider) error {
	s, err := e.NewSession(ctx, probeModel(), Options{Provider: p, Threads: 1, NoFallback: true})
	if err == nil {
		err = s.probe(ctx)
		err = errors.Join(err, s.Close())
	}
	var already *ProviderError
	if err == nil || errors.As(err, &already) || ctx.Err() != nil || p.validate() != nil {
		return err
	}
	return p.fail(err, e.version)
}

func (s *Session) probe(ctx context.Context) error {
	out := map[string]*tensor.Tensor{"Y": nil}
	in := map[string]*tensor.Tensor{
		"A": tensor.FromFloat32s([]float32{1, 2, 3, 4}, 2, 2),
		"B": tensor.FromFloat32s([]float32{5, 6, 7, 8}, 2, 2),
	}
	if err := s.Run(ctx, in, out); err != nil {
		return err
	}
	// Small integers are exact at every precision a provider may choose.
	if got, want := out["Y"].Float32s(), []float32{19, 22, 43, 50}; !slices.Equal(got, want) {
		return fmt.Errorf("computes %v for a product that is %v", got, want)
	}
	return nil
}
