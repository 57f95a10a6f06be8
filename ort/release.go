package ort

// Version is the release of ONNX Runtime the project is built with and
// installs.
const Version = "1.30.0"

// Package is the npm package that carries the releases for every platform of
// the tables.
const Package = "onnxruntime-node"

// Versions returns the releases the project is tested with, the pinned one
// first.
func Versions() []string { return []string{Version, "1.27.0"} }

// ReleaseName is what npm and records call a release.
func ReleaseName(version string) string { return Package + "@" + version }

// A File is one published file of a known release.
type File struct {
	Name   string // name in the cache folder
	Member string // name in the package's archive
	Size   int64  // bytes
	SHA256 string // hex
}

// Files returns a release's files for a platform (GOOS, GOARCH): the library
// first, then the libraries it needs beside it. It is empty for a release that
// is none of Versions and for a platform the package doesn't cover.
func Files(version, goos, goarch string) []File {
	const bin = "package/bin/napi-v6/"
	switch version + "-" + goos + "-" + goarch {
	case "1.30.0-linux-amd64":
		return []File{{"libonnxruntime.so.1", bin + "linux/x64/libonnxruntime.so.1", 45828512, "ffb75a925ba05e47b235bb66e3e3911714a80b328a9c9425539feb204aa32a23"}}
	case "1.30.0-linux-arm64":
		return []File{{"libonnxruntime.so.1", bin + "linux/arm64/libonnxruntime.so.1", 25135496, "1f549d46250b005580b597f4164984aaf75b3bcb9f3aeb07c7f8a8fe60b23c76"}}
	case "1.30.0-darwin-arm64":
		return []File{{"libonnxruntime.1.dylib", bin + "darwin/arm64/libonnxruntime.1.dylib", 44589928, "685d2be5dba1309c89d3a5324b7fd06a5c42f1a61bfea32d14c4cc28d072121d"}}
	case "1.30.0-windows-amd64":
		const dir = bin + "win32/x64/"
		return []File{
			{"onnxruntime.dll", dir + "onnxruntime.dll", 28754232, "508c362f5673483dd3a086379c392795b2e42d10d5e6f3f90ebd7ac21c97af67"},
			{"DirectML.dll", dir + "DirectML.dll", 18527584, "234e8898778cdec88d3cb0539508273494082812c968699f3de665a018971625"},
			{"dxcompiler.dll", dir + "dxcompiler.dll", 17986360, "593d42df78c7f9cbd97c1374af107cfe20985759f98b77afc1448fe41ee3cc76"},
			{"dxil.dll", dir + "dxil.dll", 1508664, "cf9a3981263f8ec30c9905d136eeaf4b4573209c602198671b958ec86905dea8"},
		}
	case "1.30.0-windows-arm64":
		const dir = bin + "win32/arm64/"
		return []File{
			{"onnxruntime.dll", dir + "onnxruntime.dll", 29815136, "6c3a2abf5c6aca11c48a0d338a91af309f2266f25ce2e4084e6a87bbcb0fbfd0"},
			{"DirectML.dll", dir + "DirectML.dll", 18444600, "aaf72a9d55aa123e0708d957d30dd4fbeb7a2e335ec6257ed5ff4261a402b9ee"},
			{"dxcompiler.dll", dir + "dxcompiler.dll", 22285624, "442a995492579e1048cf1f05a86ab00f476c46b7f9d0996e588884040a543bbe"},
			{"dxil.dll", dir + "dxil.dll", 1769784, "859b6d638c5ca3df39e9cab2a602cb0f63d0e63d750f84bb2a9ec9031319b73e"},
		}
	case "1.27.0-linux-amd64":
		return []File{{"libonnxruntime.so.1", bin + "linux/x64/libonnxruntime.so.1", 38023776, "d8aff4aa8abee8fb2abb2f2f2459ffc94461e781e41b9f7c072829dd0d470221"}}
	case "1.27.0-linux-arm64":
		return []File{{"libonnxruntime.so.1", bin + "linux/arm64/libonnxruntime.so.1", 20001880, "c36bc200e7e6c093b8abb0b34590fbdd8c52fd3fb5e33795b9523ffdde2fce0f"}}
	case "1.27.0-darwin-arm64":
		return []File{{"libonnxruntime.1.dylib", bin + "darwin/arm64/libonnxruntime.1.dylib", 38800984, "89f692a3a1a224e4ad0b796b0e7c0bd81113b0741bfe84211eceef14d05a9e59"}}
	case "1.27.0-windows-amd64":
		const dir = bin + "win32/x64/"
		return []File{
			{"onnxruntime.dll", dir + "onnxruntime.dll", 26011960, "273f9ef9cf755c6a0f342226a80448156c10ceb74db2ae8c8370dc98e75af0eb"},
			{"DirectML.dll", dir + "DirectML.dll", 18527544, "86d9b418e982fa1effb6ea39cb916b04fe3896ccedc6982d73a5477459b56d81"},
			{"dxcompiler.dll", dir + "dxcompiler.dll", 17986360, "b2d807864ae4a7cdd4a8f09cc947206f60170c90f41fc248a9cdd800f4c6fbcd"},
			{"dxil.dll", dir + "dxil.dll", 1508664, "5f307a712416ae5213f2b4469e25c4258191c8284513fa5d2bd828a14c5052ef"},
		}
	case "1.27.0-windows-arm64":
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
