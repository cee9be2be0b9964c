"""Real inputs, made or fetched the same way each time: photos, sentences, text images, speech."""
