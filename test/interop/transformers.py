"""Loads a checkpoint directory with transformers and says what it finds, as one line of JSON.

Usage: transformers.py DIRECTORY < text
The name of this file would shadow the library, so its own directory is taken off the path first.
"""

import json
import sys
from pathlib import Path

sys.path.pop(0)

import torch  # noqa: E402
from safetensors import safe_open  # noqa: E402
from transformers import AutoTokenizer, LlamaForCausalLM  # noqa: E402


def equal_bytes(model, directory):
    """True if the model holds exactly the tensors of the weights, bit for bit. Tied heads are stored once."""
    parameters = model.state_dict()
    if model.config.tie_word_embeddings:
        parameters.pop("lm_head.weight", None)
    names, same = set(), True
    for path in Path(directory).glob("model*.safetensors"):
        with safe_open(path, "pt") as file:
            names |= set(file.keys())
            same &= all(
                parameters[name].numpy().tobytes() == file.get_tensor(name).numpy().tobytes()
                for name in set(file.keys()) & set(parameters)
            )
    return same and names == set(parameters)


def main(directory, text):
    torch.manual_seed(0)
    model, info = LlamaForCausalLM.from_pretrained(
        directory, local_files_only=True, output_loading_info=True, attn_implementation="eager"
    )
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    ids = tokenizer(text)["input_ids"]
    # A document as the model reads it.
    inputs = torch.tensor([[tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]])
    model.eval()
    with torch.no_grad():
        logits = model(input_ids=inputs).logits.double()
    # Mean over all tokens but the first of -log p(token | tokens before it), in nats.
    loss = torch.nn.functional.cross_entropy(logits[0, :-1], inputs[0, 1:])
    generated = model.generate(inputs[:, :4], max_new_tokens=4, do_sample=False)
    return {
        "loss": loss.item(),
        "equalBytes": equal_bytes(model, directory),
        "dtype": str(model.dtype),
        "ids": ids,
        "decoded": tokenizer.decode(ids),
        "vocabulary": len(tokenizer),
        "specials": [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id],
        "missing": sorted(info["missing_keys"]),
        "unexpected": sorted(info["unexpected_keys"]),
        "ropeTheta": model.config.rope_parameters["rope_theta"],
        "generated": generated.shape[1],
    }


if __name__ == "__main__":
    json.dump(main(sys.argv[1], sys.stdin.buffer.read().decode("utf-8")), sys.stdout)
