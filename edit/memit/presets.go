package memit

import (
	"editpipe/edit"
	"editpipe/edit/locate"
	"editpipe/edit/spread"
)

// base has the reference implementation's settings for GPT-2 with 48 layers, whose
// layers 13 to 17 stand for a share of the depth.
func base() Config {
	return Config{spread.Config{
		Steps: 20, Rate: 0.5, Decay: 0.5, Clamp: 0.75, KL: 0.0625, Weight: 20000, FactToken: locate.SubjectLast, Start: locate.Words,
	}}
}

// presets are the reference implementation's settings for GPT-J, and EasyEdit's for
// LLaMA, which stand for other deep models. The activations of shallow models are
// few, and each stands for few facts: with second moments of a weight in the
// thousands, which suits large models, hardly anything changes.
func presets() []edit.Preset {
	return []edit.Preset{
		{From: 1, To: locate.Shallow, Set: "layers=0 mom2_update_weight=50"},
		{Family: "gptj", From: 28, To: 28, Set: "layers=3,4,5,6,7,8 v_num_grad_steps=25 mom2_update_weight=15000"},
		{Family: "gpt2"},
		{From: 28, Set: "layers=4,5,6,7,8 v_num_grad_steps=25 v_weight_decay=0.001 clamp_norm_factor=4 mom2_update_weight=15000"},
	}
}
