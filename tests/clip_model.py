"""A CLIP model of two small random layers, saved as sentence-transformers saves one: all of the real code, no download."""

from __future__ import annotations

from pathlib import Path

SIDE = 32


def save_clip(folder: Path) -> Path:
    """Write the model; its folder."""
    import torch
    from sentence_transformers import SentenceTransformer
    from tokenizers import pre_tokenizers
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"{one}</w>" for one in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizerFast(
        vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=77
    )
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    end = len(words) - 1
    text = {"vocab_size": len(words), "bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": end}
    torch.manual_seed(0)
    model = CLIPModel(
        CLIPConfig(
            text_config=layers | text | {"max_position_embeddings": 77},
            vision_config=layers | {"image_size": SIDE, "patch_size": 16},
            projection_dim=16,
        )
    )
    images = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    raw = folder / "raw"
    model.save_pretrained(raw)
    CLIPProcessor(image_processor=images, tokenizer=tokenizer).save_pretrained(raw)
    SentenceTransformer(str(raw)).save(str(folder / "clip"))
    return folder / "clip"
