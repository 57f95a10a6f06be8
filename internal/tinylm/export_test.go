package tinylm

import (
	"editpipe/onnx"
	"editpipe/tensor"
)

// Build returns the models of c with the given parameters instead of random
// ones, by file name.
func Build(c Config, params map[string]*tensor.Tensor) (map[string]*onnx.Model, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	p := newParameters(c)
	p.values = params
	models := map[string]*onnx.Model{}
	for _, f := range c.export(p) {
		models[f.file] = f.model
	}
	return models, nil
}
