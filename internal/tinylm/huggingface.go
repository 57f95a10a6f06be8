package tinylm

import "maps"

// huggingFace is the content of config.json, with the keys of each family's
// released models.
func (c Config) huggingFace(v vocabulary) map[string]any {
	a := c.anatomy()
	cfg := map[string]any{
		"model_type": string(c.Family),
		"vocab_size": c.Vocab,
		"use_cache":  true,
	}
	set := func(kv map[string]any) { maps.Copy(cfg, kv) }
	end := v.ids[v.end]
	start := end
	if v.start != "" {
		start = v.ids[v.start]
	}
	gpt := map[string]any{
		"n_layer": c.Layers, "n_embd": c.Width, "n_head": c.Heads, "n_inner": c.FFN, "n_positions": c.Context,
		"activation_function": a.act, "layer_norm_epsilon": layerNormEpsilon,
		"bos_token_id": start, "eos_token_id": end,
	}
	modern := map[string]any{
		"num_hidden_layers": c.Layers, "hidden_size": c.Width, "intermediate_size": c.FFN,
		"num_attention_heads": c.Heads, "max_position_embeddings": c.Context, "hidden_act": a.act,
		"bos_token_id": start, "eos_token_id": end, "tie_word_embeddings": a.head == "",
	}
	llama := map[string]any{"num_key_value_heads": c.KVHeads, "rms_norm_eps": rmsNormEpsilon, "rope_theta": a.theta}
	// A head's own width is written by families in which it may differ.
	headWidth := map[string]any{"head_dim": c.HeadWidth}
	switch c.Family {
	case GPT2:
		set(gpt)
	case GPTJ:
		set(gpt)
		set(map[string]any{"rotary_dim": c.rotaryDim(), "tie_word_embeddings": false})
	case StarCoder:
		set(gpt)
		set(map[string]any{"multi_query": c.KVHeads == 1, "attention_softmax_in_fp32": true, "scale_attention_softmax_in_fp32": true, "scale_attn_weights": true})
	case GPTNeo:
		set(map[string]any{
			"num_layers": c.Layers, "hidden_size": c.Width, "num_heads": c.Heads, "intermediate_size": c.FFN,
			"max_position_embeddings": c.Context, "window_size": c.Window, "activation_function": "gelu_new",
			"attention_types":  []any{[]any{[]string{"global", "local"}, (c.Layers + 1) / 2}},
			"attention_layers": c.layerKinds("local", "global"), "layer_norm_epsilon": layerNormEpsilon,
			"bos_token_id": end, "eos_token_id": end,
		})
	case GPTNeoX:
		set(modern)
		set(map[string]any{"rotary_pct": float64(c.rotaryDim()) / float64(c.HeadWidth), "rotary_emb_base": ropeTheta, "use_parallel_residual": !c.Sequential, "layer_norm_eps": layerNormEpsilon})
	case OPT:
		set(map[string]any{
			"num_hidden_layers": c.Layers, "hidden_size": c.Width, "ffn_dim": c.FFN, "num_attention_heads": c.Heads,
			"max_position_embeddings": c.Context, "word_embed_proj_dim": c.Width, "activation_function": "relu",
			"do_layer_norm_before": true, "enable_bias": true, "layer_norm_elementwise_affine": true, "_remove_final_layer_norm": false,
			"bos_token_id": end, "eos_token_id": end, "pad_token_id": end,
		})
	case BLOOM:
		set(map[string]any{
			"n_layer": c.Layers, "hidden_size": c.Width, "n_head": c.Heads, "layer_norm_epsilon": layerNormEpsilon,
			"apply_residual_connection_post_layernorm": false, "slow_but_exact": false, "bos_token_id": end, "eos_token_id": end,
		})
	case Falcon:
		set(map[string]any{
			"num_hidden_layers": c.Layers, "hidden_size": c.Width, "num_attention_heads": c.Heads, "ffn_hidden_size": c.FFN,
			"alibi": c.Alibi, "bias": c.Alibi, "parallel_attn": !c.Alibi, "multi_query": c.KVHeads == 1,
			"new_decoder_architecture": !c.Alibi && c.KVHeads > 1, "num_kv_heads": c.KVHeads, "activation": "gelu",
			"layer_norm_epsilon": layerNormEpsilon, "max_position_embeddings": c.Context, "bos_token_id": end, "eos_token_id": end,
		})
		if !c.Alibi {
			set(map[string]any{"rope_theta": ropeTheta})
		}
	case Phi2:
		set(modern)
		set(map[string]any{"num_key_value_heads": c.KVHeads, "layer_norm_eps": layerNormEpsilon, "partial_rotary_factor": float64(c.rotaryDim()) / float64(c.HeadWidth), "rope_theta": ropeTheta, "qk_layernorm": false})
	case LLaMA:
		set(modern)
		set(llama)
	case Phi3, Mistral:
		set(modern)
		set(llama)
		set(map[string]any{"sliding_window": c.Window})
		if c.Family == Mistral {
			set(headWidth)
		}
	case Qwen2, Qwen3: // in the released models the window is switched off
		set(modern)
		set(llama)
		set(map[string]any{"sliding_window": nil, "use_sliding_window": false, "max_window_layers": c.Layers})
		if c.Family == Qwen3 {
			set(headWidth)
			set(map[string]any{"attention_bias": false})
		}
	case Gemma2, Gemma3:
		set(modern)
		set(llama)
		set(headWidth)
		delete(cfg, "hidden_act")
		set(map[string]any{
			"hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": gemmaAttentionScalar, "sliding_window": c.Window,
			"layer_types": c.layerKinds("sliding_attention", "full_attention"), "attention_bias": false,
		})
		if c.Family == Gemma2 {
			set(map[string]any{"attn_logit_softcapping": gemmaScoreCap, "final_logit_softcapping": gemmaLogitCap})
		} else {
			set(map[string]any{"rope_local_base_freq": ropeTheta, "sliding_window_pattern": gemma3Pattern})
		}
	case T5:
		projection, activation := "relu", "relu"
		if c.Gated {
			projection, activation = "gated-gelu", "gelu_new"
		}
		set(map[string]any{
			"is_encoder_decoder": true,
			"num_layers":         c.Layers, "num_decoder_layers": c.Layers, "d_model": c.Width, "d_ff": c.FFN,
			"num_heads": c.Heads, "d_kv": c.Width / c.Heads, "n_positions": c.Context,
			"feed_forward_proj": projection, "dense_act_fn": activation, "is_gated_act": c.Gated,
			"relative_attention_num_buckets": t5Buckets, "relative_attention_max_distance": t5MaxDistance,
			"layer_norm_epsilon": rmsNormEpsilon, "tie_word_embeddings": !c.Gated,
			"eos_token_id": end, "pad_token_id": v.ids[v.pad], "decoder_start_token_id": v.ids[v.pad],
		})
	}
	cfg["architectures"] = []string{classes[c.Family]}
	return cfg
}

// layerKinds names every layer's attention, with a window and without.
func (c Config) layerKinds(windowed, whole string) []string {
	var kinds []string
	a := c.anatomy()
	for i := range c.Layers {
		if a.everyWindow(i) {
			kinds = append(kinds, windowed)
		} else {
			kinds = append(kinds, whole)
		}
	}
	return kinds
}

// classes are the architectures as config.json names them.
var classes = map[Family]string{
	GPT2: "GPT2LMHeadModel", GPTJ: "GPTJForCausalLM", GPTNeo: "GPTNeoForCausalLM", GPTNeoX: "GPTNeoXForCausalLM",
	OPT: "OPTForCausalLM", BLOOM: "BloomForCausalLM", Falcon: "FalconForCausalLM", Phi2: "PhiForCausalLM", Phi3: "Phi3ForCausalLM",
	LLaMA: "LlamaForCausalLM", Mistral: "MistralForCausalLM", Qwen2: "Qwen2ForCausalLM", Qwen3: "Qwen3ForCausalLM",
	Gemma2: "Gemma2ForCausalLM", Gemma3: "Gemma3ForCausalLM", StarCoder: "GPTBigCodeForCausalLM", T5: "T5ForConditionalGeneration",
}
