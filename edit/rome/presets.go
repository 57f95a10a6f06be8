package rome

import (
	"editpipe/edit"
	"editpipe/edit/locate"
)

// base has the reference implementation's settings for GPT-2, whose layer 17 of 48
// stands for a share of the depth.
func base() Config {
	return Config{Steps: 20, Rate: 0.5, Decay: 0.5, Clamp: 4, KL: 0.0625, Adjust: true, FactToken: locate.SubjectLast, Key: Unified, Start: locate.Words}
}

// presets are the reference implementation's settings for GPT-2 and GPT-J, and
// EasyEdit's for LLaMA, which stand for other deep models.
func presets() []edit.Preset {
	return []edit.Preset{
		{From: 1, To: locate.Shallow, Set: "layer=0"},
		{Family: "gpt2", From: 24, To: 24, Set: "layer=8 clamp_norm_factor=3"},
		{Family: "gpt2", From: 36, To: 36, Set: "layer=12"},
		{Family: "gpt2"},
		{Family: "gptj", From: 28, To: 28, Set: "layer=5"},
		{From: 28, Set: "layer=5 v_num_grad_steps=25 v_weight_decay=0.001"},
	}
}
