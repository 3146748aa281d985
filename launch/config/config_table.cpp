#include "launch/config/config_table.hpp"

#include "ops/models/config.hpp"

namespace skymm {
namespace {

template <class Views>
Names names_of_views(const Views& views) {
  return {views.begin(), views.end()};
}

Names vision_choices() {
  Names names = names_of_views(vision_presets());
  names.emplace_back("none");
  return names;
}

}  // namespace

const std::vector<Section>& config_sections() {
  static const std::vector<Section> table = {{"run", "where and how it runs"},
                                             {"model", "what is trained, and on top of which frozen weights"},
                                             {"data", "what it learns from"},
                                             {"train", "how it is optimised, and how often it reports"},
                                             {"parallel", "how it is spread over ranks; what is learnt is the same"}};
  return table;
}

const std::vector<Option>& config_options() {
  using C = TrainConfig;
  constexpr Range share{0, 1}, positive{0, infinity, true}, from_zero{0}, from_one{1};
  static const std::vector<Option> table = {
      {"run.dir", "DIR", "the run directory: config, metrics, checkpoints, report",
       [](C& c) -> Field { return &c.run.dir; }},
      {"run.seed", "N", "of everything random: initial weights, order of samples, dropout, augmentation",
       [](C& c) -> Field { return &c.run.seed; }},
      {"run.threads",
       "N",
       "compute threads of a rank; 0: as OMP_NUM_THREADS says, else all cores",
       [](C& c) -> Field { return &c.run.threads; },
       {0, 4096}},
      {"run.device",
       "DEVICE",
       "what computes: cuda, a GPU for each rank, where the program was built for it; emulated-cuda, CUDA's kernels on "
       "the CPU, for tests of them: very slow. --device is short for it",
       [](C& c) -> Field { return &c.run.device; },
       {},
       [] {
         return Names{"cpu", "cuda", "emulated-cuda"};
       }},
      {"run.cudnn",
       "WHAT[,...]",
       "what cuDNN computes on run.device cuda, in bf16 and where it has an engine for the shapes, in place of skymm's "
       "own kernels: attention, of sequences of one length, as in the vision model and the resampler; patch_embedding, "
       "of a frozen vision model",
       [](C& c) -> Field { return &c.run.cudnn; },
       {},
       [] {
         return Names{"attention", "patch_embedding"};
       }},
      {"run.resume", "auto|none|FILE",
       "auto: go on from the newest whole checkpoint of the run directory, if there is "
       "one; none: start anew; or the checkpoint to start from",
       [](C& c) -> Field { return &c.run.resume; }},
      {"run.save_before_end", "MINUTES|auto|none",
       "save and stop (exit code 75) so long before Slurm ends the job; auto: a minute, twice the longest step and the "
       "longest save so far; without Slurm it changes nothing",
       [](C& c) -> Field { return &c.run.save_before_end; }},
      {"run.share_frozen",
       "WHEN",
       "auto: ranks of one node that hold the same frozen weights in the host's memory read them together and keep one "
       "copy, where the system lets them; off: a copy each, as GPUs have anyway. The numbers are the same",
       [](C& c) -> Field { return &c.run.share_frozen; },
       {},
       [] {
         return Names{"auto", "off"};
       }},
      {"run.log_level",
       "LEVEL",
       "how much is said on the terminal",
       [](C& c) -> Field { return &c.run.log_level; },
       {},
       [] {
         return Names{"debug", "info", "warn", "error", "silent"};
       }},
      {"run.trace", "BOOL",
       "write trace.json with each checkpoint and at the end: what each rank did when, its newest 262144 spans, for "
       "Perfetto (ui.perfetto.dev)",
       [](C& c) -> Field { return &c.run.trace; }},

      {"model.decoder",
       "PRESET|PATH",
       "the language model: a preset, or a pretrained one (a folder with config.json and safetensors, or a GGUF file), "
       "whose weights and tokenizer come with it",
       [](C& c) -> Field { return &c.model.decoder; },
       {},
       [] { return names_of_views(decoder_presets()); },
       true},
      {"model.vision",
       "PRESET|PATH",
       "the vision model: a preset, or a pretrained one (a folder of CLIP, OpenCLIP or SigLIP); none: text only",
       [](C& c) -> Field { return &c.model.vision; },
       {},
       vision_choices,
       true},
      {"model.resampler",
       "KIND",
       "what turns image patches into visual tokens",
       [](C& c) -> Field { return &c.model.resampler; },
       {},
       [] {
         return Names{"qwen", "perceiver", "qformer", "linear", "mlp"};
       }},
      {"model.queries", "TOKENS",
       "visual tokens of a picture (qwen: a square number, Q-Former: BLIP-2 has 32; linear and mlp keep every patch)",
       [](C& c) -> Field { return &c.model.queries; }, from_one},
      {"model.resampler_depth", "LAYERS", "layers of the perceiver resampler and the Q-Former",
       [](C& c) -> Field { return &c.model.resampler_depth; }, from_one},
      {"model.resampler_positions", "BOOL",
       "add two-dimensional positions to queries and patches (qwen; the others have none to leave out)",
       [](C& c) -> Field { return &c.model.resampler_positions; }},
      {"model.lora_rank", "N", "rank of LoRA, where lora is in model.train",
       [](C& c) -> Field { return &c.model.lora_rank; }, from_one},
      {"model.lora_alpha", "X", "LoRA's strength: its term is scaled by alpha / rank",
       [](C& c) -> Field { return &c.model.lora_alpha; }, positive},
      {"model.lora_dropout",
       "SHARE",
       "of LoRA's input",
       [](C& c) -> Field { return &c.model.lora_dropout; },
       {0, 0.99}},
      {"model.lora_targets", "LIST", "linear layers that get LoRA, such as q_proj,v_proj; none: all but the head",
       [](C& c) -> Field { return &c.model.lora_targets; }},
      {"model.rslora", "BOOL", "scale LoRA by alpha / sqrt(rank)", [](C& c) -> Field { return &c.model.rslora; }},
      {"model.weights", "PATHS",
       "weights read by name over the pretrained ones, later ones win: safetensors files, such as another run's "
       "trained.safetensors; folders with an adapter of PEFT's or what skymm weights export wrote. What no file has "
       "starts at random, if it trains, and is an error, if it is frozen",
       [](C& c) -> Field { return &c.model.weights; }},
      {"model.tokenizer", "FILE", "tokenizer.model, tokenizer.json or GGUF; none: the pretrained decoder's",
       [](C& c) -> Field { return &c.model.tokenizer; }},
      {"model.dtype",
       "TYPE",
       "of weights and activations; sums, master weights and moments are f32",
       [](C& c) -> Field { return &c.model.dtype; },
       {},
       [] {
         return Names{"bf16", "f32"};
       }},
      {"model.frozen_format",
       "FORMAT",
       "of the frozen linear weights: int8 (a scale a row) and nf4 (a scale a block of 64) take a half and a quarter "
       "of bf16's memory and are made as the weights are read; dtype, f32 and bf16 leave them as model.dtype",
       [](C& c) -> Field { return &c.model.frozen_format; },
       {},
       [] {
         return Names{"dtype", "f32", "bf16", "int8", "nf4"};
       }},
      {"model.double_quantization", "BOOL", "nf4: keep the scales in 8 bits too, 0.13 bits a weight instead of 0.5",
       [](C& c) -> Field { return &c.model.double_quantization; }},
      {"model.train",
       "LIST",
       "what trains; all else is frozen",
       [](C& c) -> Field { return &c.model.train; },
       {},
       [] {
         return Names{"resampler", "lora", "decoder", "vision"};
       }},
      {"model.recompute",
       "WHAT[,...]",
       "what the decoder's layers compute again in backward, instead of keeping it, for less memory: attention+mlp: "
       "what lies inside of attention and MLP; full: all but a layer's input. One for all stages of a pipeline, or "
       "one a stage, such as full,attention+mlp,none",
       [](C& c) -> Field { return &c.model.recompute; },
       {},
       [] { return names_of_views(recompute_names()); }},

      {"data.train", "PATH[:WEIGHT|:EPOCHSe],...",
       "data sets to learn from; samples are drawn in proportion to the weights (default 1). With epochs for each, "
       "a:2e,b:1e, a is passed over twice while b is once, whatever their sizes; train.steps says how far that goes, "
       "and the log which epochs that makes",
       [](C& c) -> Field { return &c.data.train; }},
      {"data.validation", "PATH,...", "data sets for the validation loss; none: no validation",
       [](C& c) -> Field { return &c.data.validation; }},
      {"data.evaluation", "KIND=PATH,...",
       "benchmarks that the model is asked every train.evaluate_every steps: mme=DIR (a folder a task, or folders en "
       "and "
       "zh of such), mmbench=FILE, pope=PATH, as skymm eval takes them. The figures go to the log, metrics.jsonl and "
       "the "
       "report, the answers to RUN/eval/step_<N>",
       [](C& c) -> Field { return &c.data.evaluation; }},
      {"data.evaluation_images", "DIR", "folder of the pictures of pope in data.evaluation; none: its folder images",
       [](C& c) -> Field { return &c.data.evaluation_images; }},
      {"data.chat_template",
       "NAME",
       "how a conversation becomes a prompt; auto: as the pretrained decoder says of itself, in tokenizer_config.json, "
       "chat_template.jinja or its GGUF file",
       [](C& c) -> Field { return &c.data.chat_template; },
       {},
       [] { return Names{"plain", "vicuna_v1", "llama_2", "skywork", "chatml", "smollm2", "nano", "auto"}; }},
      {"data.max_length",
       "TOKENS",
       "longest sample, visual tokens included; longer ones lose their last turns",
       [](C& c) -> Field { return &c.data.max_length; },
       {2, 1 << 20}},
      {"data.english_weight", "X", "how often English samples come, relative to 1",
       [](C& c) -> Field { return &c.data.english_weight; }, from_zero},
      {"data.chinese_weight", "X", "how often Chinese samples come, relative to 1",
       [](C& c) -> Field { return &c.data.chinese_weight; }, from_zero},
      {"data.temperature", "X",
       "more than 0: a data set's share is its weight times its size to the power 1 / X, so that 1 draws by size and "
       "more gives small sets more; 0: by the weights alone",
       [](C& c) -> Field { return &c.data.temperature; }, from_zero},
      {"data.balance",
       "WHAT",
       "how a global batch is dealt to ranks and micro-batches: samples: as many each, and as even a cost (text, "
       "pictures) as that allows; cost: as even a cost as can be, many short samples or few long ones; none: in order. "
       "What is learnt is the same",
       [](C& c) -> Field { return &c.data.balance; },
       {},
       [] {
         return Names{"samples", "cost", "none"};
       }},
      {"data.negatives", "SHARE", "of the questions about what is not in the picture that are kept",
       [](C& c) -> Field { return &c.data.negatives; }, share},
      {"data.quarantine", "FILE", "ids of samples to leave out of training, one a line",
       [](C& c) -> Field { return &c.data.quarantine; }},
      {"data.max_bad_share", "SHARE",
       "of the samples that may be bad (a picture that cannot be decoded, an empty answer, a text that is too long), "
       "each counted and named; more end the run",
       [](C& c) -> Field { return &c.data.max_bad_share; }, share},
      {"data.augment", "BOOL", "shift pictures and change their brightness a little",
       [](C& c) -> Field { return &c.data.augment; }},
      {"data.features", "BOOL",
       "read what the frozen ViT makes of each picture, which skymm data encode left beside every data set, in place "
       "of running it; needs data.augment false",
       [](C& c) -> Field { return &c.data.features; }},
      {"data.fast_jpeg", "BOOL",
       "decode JPEGs at a half or less where that is large enough: faster, not quite the same",
       [](C& c) -> Field { return &c.data.fast_jpeg; }},
      {"data.workers",
       "THREADS",
       "of a rank that decode pictures and tokenize, ahead of training",
       [](C& c) -> Field { return &c.data.workers; },
       {1, 1024}},

      {"train.objective",
       "WHAT",
       "instruction: answers about pictures; text: a decoder alone; lvm: the vision model, "
       "from captions and the names of patches",
       [](C& c) -> Field { return &c.train.objective; },
       {},
       [] {
         return Names{"instruction", "text", "lvm"};
       }},
      {"train.steps", "STEPS", "optimizer steps of the whole run", [](C& c) -> Field { return &c.train.steps; },
       from_one},
      {"train.global_batch", "SAMPLES", "of a step, over all ranks",
       [](C& c) -> Field { return &c.train.global_batch; }, from_one},
      {"train.micro_batch", "SAMPLES", "that a rank computes at once; less needs less memory, the result is the same",
       [](C& c) -> Field { return &c.train.micro_batch; }, from_one},
      {"train.learning_rate", "X", "the peak", [](C& c) -> Field { return &c.train.learning_rate; }, positive},
      {"train.schedule",
       "KIND",
       "of the learning rate after warm-up",
       [](C& c) -> Field { return &c.train.schedule; },
       {},
       [] {
         return Names{"cosine", "constant"};
       }},
      {"train.warmup_steps", "STEPS", "while the learning rate climbs from 0",
       [](C& c) -> Field { return &c.train.warmup_steps; }, from_zero},
      {"train.min_lr_ratio", "SHARE", "of the peak that the cosine ends at",
       [](C& c) -> Field { return &c.train.min_lr_ratio; }, share},
      {"train.weight_decay", "X", "of matrices; vectors are not decayed",
       [](C& c) -> Field { return &c.train.weight_decay; }, from_zero},
      {"train.beta1", "X", "AdamW's mean of gradients", [](C& c) -> Field { return &c.train.beta1; }, {0, 0.9999}},
      {"train.beta2", "X", "AdamW's mean of squares", [](C& c) -> Field { return &c.train.beta2; }, {0, 0.99999}},
      {"train.epsilon", "X", "AdamW's", [](C& c) -> Field { return &c.train.epsilon; }, positive},
      {"train.clip_norm", "X", "largest norm of the whole gradient; 0: no clipping",
       [](C& c) -> Field { return &c.train.clip_norm; }, from_zero},
      {"train.log_every", "STEPS", "between progress lines", [](C& c) -> Field { return &c.train.log_every; },
       from_one},
      {"train.validate_every", "STEPS", "between validations", [](C& c) -> Field { return &c.train.validate_every; },
       from_one},
      {"train.validation_steps", "BATCHES", "most global batches of a validation",
       [](C& c) -> Field { return &c.train.validation_steps; }, from_one},
      {"train.evaluate_every", "STEPS",
       "between evaluations of data.evaluation, all ranks together; the end always has one. What is learnt does not "
       "change. 0: never",
       [](C& c) -> Field { return &c.train.evaluate_every; }, from_zero},
      {"train.evaluate_limit", "PICTURES",
       "of each task of MME and each split of POPE that are asked about, and questions of MMBench; 0: all",
       [](C& c) -> Field { return &c.train.evaluate_limit; }, from_zero},
      {"train.checkpoint_every", "STEPS", "between checkpoints; the end always leaves one",
       [](C& c) -> Field { return &c.train.checkpoint_every; }, from_one},
      {"train.keep_checkpoints",
       "N",
       "newest checkpoints that are kept",
       [](C& c) -> Field { return &c.train.keep_checkpoints; },
       {1, 1000}},
      {"train.keep_every", "STEPS", "the checkpoints of every so many steps are kept too; 0: only the newest",
       [](C& c) -> Field { return &c.train.keep_every; }, from_zero},
      {"train.spike_zscore", "X",
       "skip a step whose loss is so many standard deviations above the mean of about the last 100; 0: never",
       [](C& c) -> Field { return &c.train.spike_zscore; }, from_zero},
      {"train.most_skipped", "STEPS",
       "in a row (a loss or gradient that is not finite, a spike, no answer to learn), after which the run ends and "
       "names their samples",
       [](C& c) -> Field { return &c.train.most_skipped; }, from_one},
      {"train.time_limit_minutes", "MINUTES", "after which the run saves and ends; 0: no limit",
       [](C& c) -> Field { return &c.train.time_limit_minutes; }, from_zero},

      {"parallel.data", "RANKS", "that hold the same pieces of the model and share out the samples; 0: as many as fit",
       [](C& c) -> Field { return &c.parallel.data; }, from_zero},
      {"parallel.pipeline", "RANKS", "that the model is cut over", [](C& c) -> Field { return &c.parallel.pipeline; },
       from_one},
      {"parallel.chunks", "PIECES", "of the model on each rank of a pipeline, for the interleaved schedule",
       [](C& c) -> Field { return &c.parallel.chunks; }, from_one},
      {"parallel.order",
       "WHICH",
       "which ranks are neighbours in the job, and so usually on one node: those of a pipeline, or data-parallel ones",
       [](C& c) -> Field { return &c.parallel.order; },
       {},
       [] {
         return Names{"pipeline", "data"};
       }},
      {"parallel.schedule",
       "KIND",
       "the order of forwards and backwards in a pipeline",
       [](C& c) -> Field { return &c.parallel.schedule; },
       {},
       [] {
         return Names{"gpipe", "1f1b", "interleaved", "zero-bubble"};
       }},
      {"parallel.cuts", "BLOCKS",
       "where each piece of the model but the first begins, such as embedding,layers.12 (blocks: vision.N, resampler, "
       "embedding, layers.N, head); none: as even as their costs allow",
       [](C& c) -> Field { return &c.parallel.cuts; }},
      {"parallel.memory", "SIZE|none",
       "that a rank may take, such as 80G or 512M: the model is cut so that all stages fit as skymm plan --memory "
       "computes it, or refused before anything is loaded",
       [](C& c) -> Field { return &c.parallel.memory; }},
      {"parallel.uneven",
       "WHAT",
       "where train.global_batch is not a multiple of train.micro_batch x data-parallel ranks: refuse to train, or "
       "deal it to micro-batches of fewer samples; what is learnt is the same",
       [](C& c) -> Field { return &c.parallel.uneven; },
       {},
       [] {
         return Names{"refuse", "deal"};
       }},
      {"parallel.zero",
       "STAGE",
       "what data-parallel ranks shard of what trains: 0 nothing, 1 optimizer states, 2 and gradients, 3 and weights",
       [](C& c) -> Field { return &c.parallel.zero; },
       {0, 3}},
      {"parallel.shard_frozen", "BOOL",
       "each data-parallel rank keeps a part of the bytes of every frozen layer of the decoder, in the form that it "
       "computes with; layers are gathered one ahead, forward and backward. For ranks of several nodes: those of one "
       "share frozen weights at no cost (run.share_frozen)",
       [](C& c) -> Field { return &c.parallel.shard_frozen; }},
      {"parallel.overlap", "BOOL",
       "messages between stages, sums of gradients and frozen weights that are gathered move while ranks compute",
       [](C& c) -> Field { return &c.parallel.overlap; }},
      {"parallel.transport",
       "KIND",
       "what moves tensors of GPUs from rank to rank: nccl, directly; mpi, through host memory; auto: nccl where this "
       "build has it and each rank its own GPU. The numbers are the same",
       [](C& c) -> Field { return &c.parallel.transport; },
       {},
       [] {
         return Names{"auto", "nccl", "mpi"};
       }},
      {"parallel.check_collectives", "BOOL",
       "before each collective, check that all ranks are about to do the same one; slower, for finding errors",
       [](C& c) -> Field { return &c.parallel.check_collectives; }},
      {"parallel.watchdog_seconds", "SECONDS",
       "that a rank may wait while nothing moves, and nobody of its host that it waits for gets on with its work, "
       "before the job ends with a report of who waits where; 0: for ever. A rank of another host may compute, load or "
       "write for so long at most: how far it is cannot be seen",
       [](C& c) -> Field { return &c.parallel.watchdog_seconds; }, from_zero},
  };
  return table;
}

}  // namespace skymm
