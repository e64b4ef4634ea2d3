// SPDX-License-Identifier: MIT
// [optimizer], [schedule] and [average] of the deck, as typed values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace isaribi::optim {

struct OptimizerSettings {
  std::string kind = "sgd";  ///< sgd, adamw, kfac, ekfac, foof
  double lr = 0.1;           ///< peak learning rate; the schedule scales it
  double momentum = 0.9;
  bool nesterov = false;
  double weight_decay = 0.0;
  bool decoupled = false;            ///< AdamW-style decay; always on for adamw
  bool decay_bias_and_norm = false;  ///< weight decay also on biases and batch-norm parameters
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;  ///< adamw
  bool momentum_follows_lr =
      false;               ///< second-order kinds: momentum lr(t) / lr (Osawa et al. 2019)
  double clip_norm = 0.0;  ///< global gradient norm bound, 0 = none
};

struct ScheduleSettings {
  std::string kind = "constant";  ///< constant, step, cosine, polynomial
  double warmup_epochs = 0.0;     ///< linear from warmup_start * lr
  double warmup_start = 0.0;
  std::vector<double> milestones = {};  ///< step: epochs at which lr is multiplied by gamma
  double gamma = 0.1;
  double final_fraction = 0.0;  ///< cosine, polynomial: lr at the end as a fraction of the peak
  double power = 1.0;  ///< polynomial: exponent p of (1 - (e - e_start) / (e_end - e_start))^p
                       ///< (Osawa et al. 2019)
  double start_epoch = 0.0, end_epoch = 0.0;  ///< decay window; end 0 = end of training
};

struct AverageSettings {
  std::string kind = "none";  ///< none, ema, swa: weights used for evaluation and export
  double decay = 0.999;       ///< ema
  double start_epoch = 0.0;   ///< first epoch that enters the average
};

}  // namespace isaribi::optim
