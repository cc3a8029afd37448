"""Tables with one text per row: the layout of WebVid, InternVid, Panda-70M and OpenVid."""
