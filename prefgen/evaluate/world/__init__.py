"""The world of drawn scenes: what is in a picture, its drawing, its captions and questions."""
