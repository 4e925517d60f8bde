CREATE TABLE noise_monitor (
    device VARCHAR NOT NULL, time BIGINT NOT NULL, received BIGINT NOT NULL, upload BIGINT NOT NULL,
    sound_level DOUBLE, sound_level__q UTINYINT
);
INSERT INTO noise_monitor VALUES ('n1', 1764000000000, 1764000000000, 1, 50.0, 0);
