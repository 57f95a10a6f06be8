package ort

// KnownProvider describes an execution provider that has a name of its own
// here. Any other provider of the library can be named as the runtime spells it.
type KnownProvider struct {
	Name  string
	Title string
	Needs string // what has to be there for it to load
}

// KnownProviders lists the execution providers with names of their own.
func KnownProviders() []KnownProvider {
	return []KnownProvider{
		{"cpu", "the processor", "nothing"},
		{"cuda", "NVIDIA GPUs", "libonnxruntime_providers_shared and _cuda beside the library, CUDA 12, cuDNN 9"},
		{"tensorrt", "NVIDIA GPUs, compiled engines", "as cuda, and libonnxruntime_providers_tensorrt, TensorRT 10"},
		{"webgpu", "GPUs through Vulkan, Direct3D 12 or Metal", "a graphics driver; on Linux libvulkan.so.1"},
		{"coreml", "Apple's accelerators", "macOS"},
		{"directml", "GPUs on Windows", "Windows, DirectML.dll beside the library"},
		{"openvino", "Intel's processors and GPUs", "a library built with OpenVINO"},
	}
}
