-- The users' table of images, made only where it is missing.

CREATE TABLE IF NOT EXISTS {source} (
    {source_id}        {id_type} PRIMARY KEY,
    {source_location}  varchar(500),
    file_type          smallint,
    md5                varchar(32),
    create_time        timestamp DEFAULT now()
);
