package ort

// KnownProvider describes an execution provider that has a name of its own
// here. Any other provider of the library can be named as the runtime spells it.
type KnownProvider struct {
	Name  string
	Title string
	Needs string // what has to be there for it to load
	full  string // the name the runtime reports
}

// KnownProviders lists the execution providers with names of their own.
func KnownProviders() []KnownProvider {
	return []KnownProvider{
		{"cpu", "the processor", "nothing", cpuProvider},
		{"cuda", "NVIDIA GPUs", "libonnxruntime_providers_shared and _cuda beside the library, CUDA 12, cuDNN 9", "CUDAExecutionProvider"},
		{"tensorrt", "NVIDIA GPUs, compiled engines", "as cuda, and libonnxruntime_providers_tensorrt, TensorRT 10", "TensorrtExecutionProvider"},
		{"webgpu", "GPUs through Vulkan, Direct3D 12 or Metal", "a graphics driver; on Linux libvulkan.so.1", "WebGpuExecutionProvider"},
		{"coreml", "Apple's accelerators", "macOS", "CoreMLExecutionProvider"},
		{"directml", "GPUs on Windows", "Windows, DirectML.dll beside the library", "DmlExecutionProvider"},
		{"openvino", "Intel's processors and GPUs", "a library built with OpenVINO", "OpenVINOExecutionProvider"},
	}
}

const cpuProvider = "CPUExecutionProvider"

// known returns the runtime's name of a provider of the list.
func known(name string) (full string, ok bool) {
	for _, p := range KnownProviders() {
		if p.Name == name {
			return p.full, true
		}
	}
	return "", false
}
