-- A desk for each area; the first, "desk", is made by the image itself.
CREATE DATABASE desk2;
