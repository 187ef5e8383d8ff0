"""Does augmentation help the classifier that is trained on it? Arms, seeds, controls, a verdict.

An evaluation runs in this order, and each step resumes where it stopped: `plan.plan_evaluation`,
`images.prepare.prepare`, `images.generate.generate` for each seed, `trials.run.run_trials` until
`missing_trials` is empty, and `verdict.conclude.conclude`. A `search` shares all but the last.
"""
