"""Tables with a row a text: the form of WebVid, InternVid, Panda-70M and OpenVid."""
