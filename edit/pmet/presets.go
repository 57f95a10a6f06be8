package pmet

import (
	"editpipe/edit"
	"editpipe/edit/locate"
	"editpipe/edit/spread"
)

// base has the authors' settings for GPT-J, but the layers: those are published for
// it alone, and elsewhere a share of the depth, as in MEMIT.
func base() Config {
	return Config{Space: Add, Stop: Argmax, Config: spread.Config{
		Steps: 30, Rate: 0.2, Decay: 0.5, Clamp: 0.75, KL: 1, Weight: 6000, FactToken: locate.SubjectLast, Start: locate.Words,
	}}
}

// presets are the authors' layers for GPT-J, and EasyEdit's settings for LLaMA,
// which stand for other deep models. For shallow ones see MEMIT.
func presets() []edit.Preset {
	return []edit.Preset{
		{From: 1, To: locate.Shallow, Set: "layers=0 mom2_update_weight=50"},
		{Family: "gptj", From: 28, To: 28, Set: "layers=3,4,5,6,7,8"},
		{Family: "gpt2"},
		{From: 28, Set: "layers=4,5,6,7,8 v_num_grad_steps=20 v_lr=0.5 clamp_norm_factor=1 kl_factor=0.0625 mom2_update_weight=15000"},
	}
}
