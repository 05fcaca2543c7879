//! MutatingWebhookConfigurations as values: which entries there are, what they select, and their caBundle.
