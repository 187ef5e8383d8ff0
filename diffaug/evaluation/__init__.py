"""Does augmentation help the classifier that is trained on it? Arms, seeds, controls, a verdict.

An evaluation runs in this order, and each step resumes where it stopped: `plan.plan_evaluation`,
`images.prepare.prepare`, `images.generate.generate` and `trials.run.run_trials` as
`trials.run.rounds` has them, and `verdict.conclude.conclude`. A `search` has rounds of its own.
"""
