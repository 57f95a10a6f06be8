package ftl

import "editpipe/edit"

// base has EasyEdit's settings for LLaMA: layer 21 of 32, without a box.
func base() Config { return Config{Steps: 25, Rate: 5e-4, Bias: true} }

// presets are the settings of the code of ROME for GPT-J and GPT-2: layer 0 with a
// box.
func presets() []edit.Preset {
	return []edit.Preset{
		{Family: "gptj", Set: "layer=0 norm_constraint=5e-5"},
		{Family: "gpt2", From: 48, Set: "layer=0 norm_constraint=5e-4"},
		{Family: "gpt2", From: 36, Set: "layer=0 norm_constraint=1e-3"},
		{Family: "gpt2", Set: "layer=0 norm_constraint=2e-3"},
	}
}
