"""Tokenizers: SentencePiece models, trained or loaded, and BERT's WordPiece vocabularies."""

from vtmask.tokenizers.huggingface import read_published
from vtmask.tokenizers.loading import load
from vtmask.tokenizers.sentence_piece import SentencePiece, train
from vtmask.tokenizers.tokenizer import CONTROL_SYMBOLS, Tokenizer
from vtmask.tokenizers.word_piece import JsonWordPiece, Normalization, WordPiece, word_piece

__all__ = [
    "CONTROL_SYMBOLS",
    "JsonWordPiece",
    "Normalization",
    "SentencePiece",
    "Tokenizer",
    "WordPiece",
    "load",
    "read_published",
    "train",
    "word_piece",
]
