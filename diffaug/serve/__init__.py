"""The augmentation service: requests of any recipe share the lanes of one loaded model."""
