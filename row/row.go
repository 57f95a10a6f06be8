// Package row defines the rows of a run's tables: a struct is a row, its
// parquet tags are the columns. The same struct is used from the function that
// computes a number to the file that stores it, so a new column is a new field;
// a new field of Scores also needs a definition in package metric.
//
// Embedded structs are flat: their fields are columns of the row that embeds
// them.
package row

// Status says whether a row has numbers.
type Status string

// The statuses of a row.
const (
	OK            Status = "ok"
	Unsupported   Status = "unsupported"    // the method does not define this schedule, side or model; the survey prints "-"
	Failed        Status = "error"          // the edit or the question failed; Detail says why
	Skipped       Status = "skipped"        // not asked, on purpose; Detail says why
	SkippedLength Status = "skipped_length" // prompt and target exceed the model's context; never truncated silently
)

// Fault says whose fault it is that a row has no numbers.
type Fault string

// The faults of a row.
const (
	FaultData    Fault = "data"    // the record or the question: too long, nothing to score, contradicted by a later edit
	FaultSetting Fault = "setting" // the command: the method or the record does not go with this schedule
	FaultMethod  Fault = "method"  // the method: it could not make the edit, made a model of it that gives no finite numbers, or does not do what is asked
	FaultModel   Fault = "model"   // the model: its graph failed, gives no finite numbers unedited, or cannot be changed so
)

// Result is one row of results/*.parquet: one probe, asked once of one edited
// model, beside the unedited model's answer to the same probe (pre_...).
// Numbers are null unless Status is OK and the scorer applies to the probe;
// NaN is never written.
type Result struct {
	RunID     string `parquet:"run_id,dict"`
	Model     string `parquet:"model,dict"`
	ModelHash string `parquet:"model_hash,dict"`
	Dataset   string `parquet:"dataset,dict"`
	Method    string `parquet:"method,dict"`
	Config    string `parquet:"config_hash,dict"` // hash of the method's effective configuration
	Setting   string `parquet:"setting,dict"`     // single, batch:N, sequential:N, sequential:N/B
	BatchSize int32  `parquet:"batch_size"`       // true number of edits in force together when this was asked
	OrderSeed int64  `parquet:"order_seed"`       // seed of the order of edits; 0 for data set order

	EditIndex      int32  `parquet:"edit_index"`      // position of the edit in its unit, from 0
	EvaluatedAfter int32  `parquet:"evaluated_after"` // number of edits made in the unit when this was asked
	EditID         string `parquet:"edit_id"`
	ProbeID        string `parquet:"probe_id"`
	Family         string `parquet:"family,dict"`
	Axis           string `parquet:"axis,dict"`
	Variant        string `parquet:"variant,dict,optional"`
	Apart          bool   `parquet:"apart"` // a side question: in no headline number of its axis
	RelationID     string `parquet:"relation_id,dict,optional"`
	Subject        string `parquet:"subject"`

	Prompt string `parquet:"prompt"`              // as asked of the user's side; a method's own context is not repeated here
	Target string `parquet:"target,optional"`     // text whose tokens are scored
	Alt    string `parquet:"target_alt,optional"` // text it is compared with

	Status     Status `parquet:"status,dict"`
	Fault      Fault  `parquet:"fault,dict,optional"` // empty where Status is OK
	Detail     string `parquet:"detail,optional"`
	ProtocolID string `parquet:"protocol_id,dict"`

	Scores
}

// Scores are the numbers of one probe. What does not apply to the probe is nil;
// the columns pre_... are those of the unedited model.
type Scores struct {
	Tokens      *int32   `parquet:"n_target_tokens,optional"`
	Correct     *int32   `parquet:"tf_correct,optional"`    // target tokens that are the argmax
	TokenAcc    *float64 `parquet:"tf_token_acc,optional"`  // Correct / Tokens
	Exact       *bool    `parquet:"tf_exact,optional"`      // all of them
	ExactEOS    *bool    `parquet:"tf_exact_eos,optional"`  // and an end token behind them; of encoder-decoders
	LogPSum     *float64 `parquet:"logp_sum,optional"`      // nats
	LogPMean    *float64 `parquet:"logp_mean,optional"`     // nats per token
	LogPAltMean *float64 `parquet:"logp_alt_mean,optional"` // of Alt
	FirstRank   *int32   `parquet:"rank_first,optional"`    // of the first target token, 0 is best
	MinGap      *float64 `parquet:"min_logit_gap,optional"` // best minus second-best logit, smallest over the positions
	Repaired    bool     `parquet:"boundary_repair"`        // prompt and target were tokenised apart
	ArgmaxIDs   []int32  `parquet:"argmax_ids,list"`

	Success  *bool    `parquet:"success_prob,optional"` // LogPMean > LogPAltMean
	ProbDiff *float64 `parquet:"prob_diff,optional"`    // exp(LogPMean) - exp(LogPAltMean)

	Choice     *int32 `parquet:"choice,optional"`      // chosen by the sum of log-probabilities
	ChoiceNorm *int32 `parquet:"choice_norm,optional"` // by the sum per UTF-8 byte
	Acc        *bool  `parquet:"acc,optional"`
	AccNorm    *bool  `parquet:"acc_norm,optional"`

	GenText     *string `parquet:"gen_text,optional"`
	GenStop     *string `parquet:"gen_stop,dict,optional"`
	GenEM       *bool   `parquet:"gen_em,optional"`
	GenContains *bool   `parquet:"gen_contains,optional"`

	PreArgmaxIDs   []int32  `parquet:"pre_argmax_ids,list"`
	PreTokenAcc    *float64 `parquet:"pre_tf_token_acc,optional"`
	PreExact       *bool    `parquet:"pre_tf_exact,optional"`
	PreLogPMean    *float64 `parquet:"pre_logp_mean,optional"`
	PreLogPAltMean *float64 `parquet:"pre_logp_alt_mean,optional"`
	PreSuccess     *bool    `parquet:"pre_success_prob,optional"`
	PreChoice      *int32   `parquet:"pre_choice,optional"`
	PreAcc         *bool    `parquet:"pre_acc,optional"`

	AgreeTok   *float64 `parquet:"agree_tok,optional"`   // share of positions with the unedited model's argmax
	AgreeExact *bool    `parquet:"agree_exact,optional"` // all of them
	KL         *float64 `parquet:"kl,optional"`          // mean KL(unedited || edited) over target positions, nats
	Flip       *string  `parquet:"flip,dict,optional"`   // kept_right, kept_wrong, right_to_wrong, wrong_to_right, wrong_to_other
}

// Base is one row of base/*.parquet: the unedited model's answer to one probe.
type Base struct {
	ProbeID    string `parquet:"probe_id"`
	EditID     string `parquet:"edit_id"`
	ProtocolID string `parquet:"protocol_id,dict"`
	Status     Status `parquet:"status,dict"`
	Fault      Fault  `parquet:"fault,dict,optional"`
	Detail     string `parquet:"detail,optional"`
	Target     string `parquet:"target,optional"`
	Alt        string `parquet:"target_alt,optional"`

	Baseline

	GenText *string `parquet:"gen_text,optional"`
	GenStop *string `parquet:"gen_stop,dict,optional"`
}

// Baseline is what the unedited model says to a probe, as far as metrics need it.
type Baseline struct {
	Repaired  bool    `parquet:"boundary_repair"`
	TargetIDs []int32 `parquet:"target_ids,list"` // gold tokens; none for questions with choices
	ArgmaxIDs []int32 `parquet:"argmax_ids,list"`

	LogPs       []float64 `parquet:"logps,list"` // per target token, nats
	LogPAltMean *float64  `parquet:"logp_alt_mean,optional"`
	FirstRank   *int32    `parquet:"rank_first,optional"`
	MinGap      *float64  `parquet:"min_logit_gap,optional"`
	ChoiceLogP  []float64 `parquet:"choice_logps,list"` // sum of log-probabilities per choice
}

// Applied is one row of applied/*.parquet: one edit as it was made.
type Applied struct {
	RunID      string   `parquet:"run_id,dict"`
	Method     string   `parquet:"method,dict"`
	Setting    string   `parquet:"setting,dict"`
	UnitID     string   `parquet:"unit_id,dict"`
	EditIndex  int32    `parquet:"edit_index"`
	EditID     string   `parquet:"edit_id"`
	Status     Status   `parquet:"status,dict"`
	Fault      Fault    `parquet:"fault,dict,optional"`
	Detail     string   `parquet:"detail,optional"`
	StateBytes int64    `parquet:"state_bytes"`         // size of the patch after this edit
	DeltaNorm  *float64 `parquet:"delta_norm,optional"` // Frobenius norm of the weight change, all weights together
	Context    string   `parquet:"context,optional"`    // what a prompt-based method puts before the prompt
	Steps      *int32   `parquet:"steps,optional"`      // optimisation steps
	FinalLoss  *float64 `parquet:"final_loss,optional"`
}

// Cost is one row of costs/*.parquet: what one unit took. Times and memory live
// here and nowhere else, so that result rows can be compared byte for byte.
type Cost struct {
	RunID    string   `parquet:"run_id,dict"`
	Stage    string   `parquet:"stage,dict"`
	UnitID   string   `parquet:"unit_id"`
	Method   string   `parquet:"method,dict,optional"`
	Setting  string   `parquet:"setting,dict,optional"`
	Edits    int32    `parquet:"n_edits"`
	Probes   int32    `parquet:"n_probes"`
	TEdit    *float64 `parquet:"t_edit,optional"`    // seconds to make the edits of the unit
	TAsk     *float64 `parquet:"t_ask,optional"`     // seconds to ask the probes
	TWall    float64  `parquet:"t_wall"`             // seconds of the whole unit
	TCPU     *float64 `parquet:"t_cpu,optional"`     // processor seconds, all threads
	PeakRSS  *int64   `parquet:"peak_rss,optional"`  // bytes
	PeakVRAM *int64   `parquet:"peak_vram,optional"` // bytes; null where it cannot be measured
	WarmUp   bool     `parquet:"warm_up"`            // first unit of a process: sessions were built in it
}

// Summary is one row of summary.parquet and of the JSON report's rows: a mean
// over records. Interval ends are null where rows are not independent (batches and
// sequences) and where there are fewer than two clusters.
type Summary struct {
	Run        string   `parquet:"run,dict" json:"run"`
	Model      string   `parquet:"model,dict" json:"model"`
	Dataset    string   `parquet:"dataset,dict" json:"dataset"`
	Method     string   `parquet:"method,dict" json:"method"`
	Setting    string   `parquet:"setting,dict" json:"setting"`
	Axis       string   `parquet:"axis,dict" json:"axis"`
	Metric     string   `parquet:"metric,dict" json:"metric"`
	ProtocolID string   `parquet:"protocol_id,dict" json:"protocol_id"`
	N          int64    `parquet:"n" json:"n"` // records the mean is over
	Mean       *float64 `parquet:"mean,optional" json:"mean"`
	Lo         *float64 `parquet:"ci_lo,optional" json:"ci_lo"`
	Hi         *float64 `parquet:"ci_hi,optional" json:"ci_hi"`
}
