package ort

// Version is the release of ONNX Runtime the project is built and tested with.
const Version = "1.27.0"

// Package is the npm package that carries that release for every platform
// of the table, and Release its name in records.
const (
	Package     = "onnxruntime-node"
	ReleaseName = Package + "@" + Version
)

// A File is one published file of the known release.
type File struct {
	Name   string // name in the cache folder
	Member string // name in the package's archive
	Size   int64  // bytes
	SHA256 string // hex
}

// Releases returns the known release's files for a platform (GOOS, GOARCH):
// the library first, then the libraries it needs beside it. It is empty for a
// platform the package doesn't cover.
func Releases(goos, goarch string) []File {
	const bin = "package/bin/napi-v6/"
	switch goos + "-" + goarch {
	case "linux-amd64":
		return []File{{"libonnxruntime.so.1", bin + "linux/x64/libonnxruntime.so.1", 38023776, "d8aff4aa8abee8fb2abb2f2f2459ffc94461e781e41b9f7c072829dd0d470221"}}
	case "linux-arm64":
		return []File{{"libonnxruntime.so.1", bin + "linux/arm64/libonnxruntime.so.1", 20001880, "c36bc200e7e6c093b8abb0b34590fbdd8c52fd3fb5e33795b9523ffdde2fce0f"}}
	case "darwin-arm64":
		return []File{{"libonnxruntime.1.dylib", bin + "darwin/arm64/libonnxruntime.1.dylib", 38800984, "89f692a3a1a224e4ad0b796b0e7c0bd81113b0741bfe84211eceef14d05a9e59"}}
	case "windows-amd64":
		const dir = bin + "win32/x64/"
		return []File{
			{"onnxruntime.dll", dir + "onnxruntime.dll", 26011960, "273f9ef9cf755c6a0f342226a80448156c10ceb74db2ae8c8370dc98e75af0eb"},
			{"DirectML.dll", dir + "DirectML.dll", 18527544, "86d9b418e982fa1effb6ea39cb916b04fe3896ccedc6982d73a5477459b56d81"},
			{"dxcompiler.dll", dir + "dxcompiler.dll", 17986360, "b2d807864ae4a7cdd4a8f09cc947206f60170c90f41fc248a9cdd800f4c6fbcd"},
			{"dxil.dll", dir + "dxil.dll", 1508664, "5f307a712416ae5213f2b4469e25c4258191c8284513fa5d2bd828a14c5052ef"},
		}
	case "windows-arm64":
		const dir = bin + "win32/arm64/"
		return []File{
			{"onnxruntime.dll", dir + "onnxruntime.dll", 26834232, "908ce63e73f375e90daabe24c52486b42392c19df3d63973a26f871cfeab5453"},
			{"DirectML.dll", dir + "DirectML.dll", 18444600, "759a2d3054d4ce583186bd6f0b5c36071492b3dfba8be456b69f1b17b313171c"},
			{"dxcompiler.dll", dir + "dxcompiler.dll", 22285624, "af2c099ca8270ddcdf5d5aca248345db997c714c5112553a932a75a472c2ae9d"},
			{"dxil.dll", dir + "dxil.dll", 1769784, "87213188bf7bdcf0498684aaff8238666645c67e55e8c956d27d3a4da7453cbe"},
		}
	}
	return nil
}
