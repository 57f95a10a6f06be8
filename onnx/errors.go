package onnx

import "errors"

var (
	// ErrFormat is returned when the bytes are not a well-formed ONNX model:
	// truncated, not protobuf, a field of the wrong kind, or a part missing.
	ErrFormat = errors.New("malformed ONNX data")
	// ErrVersion is returned when the IR version or an opset version is outside
	// the supported range.
	ErrVersion = errors.New("unsupported ONNX version")
	// ErrCycle is returned when nodes depend on each other in a circle.
	ErrCycle = errors.New("graph has a cycle")
	// ErrOrder is returned when a node stands before one that it reads from.
	ErrOrder = errors.New("nodes are not in topological order")
	// ErrDuplicate is returned when one graph defines a name twice.
	ErrDuplicate = errors.New("name defined twice")
	// ErrUndefined is returned when a value is read, exposed, promoted or cut
	// at that the graph does not define.
	ErrUndefined = errors.New("value not defined")
	// ErrSize is returned when the dimensions and type of a tensor do not agree
	// with the data it holds.
	ErrSize = errors.New("tensor size does not add up")
	// ErrDataType is returned when a tensor's element type is unknown or cannot
	// be represented by package tensor.
	ErrDataType = errors.New("unsupported element type")
	// ErrExternal is returned when external data are missing, too short or lie
	// outside the model folder.
	ErrExternal = errors.New("external data cannot be used")
	// ErrTooLarge is returned when a model does not fit into one protobuf
	// message of 2 GiB.
	ErrTooLarge = errors.New("model exceeds 2 GiB without external data")
)
