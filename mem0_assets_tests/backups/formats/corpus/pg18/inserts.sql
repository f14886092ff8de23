--
-- PostgreSQL database dump
--

\restrict blJ1IIvfmhRizkwnnYyrcFAh5pwoklsBLswkg9TJqovsvvLMtGabOHcCZNgMdG3

-- Dumped from database version 18.4
-- Dumped by pg_dump version 18.4

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: vector; Type: EXTENSION; Schema: -; Owner: -
--

CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;


--
-- Name: EXTENSION vector; Type: COMMENT; Schema: -; Owner: 
--

COMMENT ON EXTENSION vector IS 'vector data type and ivfflat and hnsw access methods';


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: mem0migrations; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.mem0migrations (
    id uuid CONSTRAINT memories_id_not_null NOT NULL,
    vector public.vector(3),
    payload jsonb
);


ALTER TABLE public.mem0migrations OWNER TO postgres;

--
-- Name: memories; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.memories (
    id uuid NOT NULL,
    vector public.vector(3),
    payload jsonb
);


ALTER TABLE public.memories OWNER TO postgres;

--
-- Name: memories_entities; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.memories_entities (
    id uuid CONSTRAINT memories_id_not_null NOT NULL,
    vector public.vector(3),
    payload jsonb
);


ALTER TABLE public.memories_entities OWNER TO postgres;

--
-- Name: notes; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.notes (
    number integer,
    "te;xt" text
);


ALTER TABLE public.notes OWNER TO postgres;

--
-- Data for Name: mem0migrations; Type: TABLE DATA; Schema: public; Owner: postgres
--



--
-- Data for Name: memories; Type: TABLE DATA; Schema: public; Owner: postgres
--

INSERT INTO public.memories VALUES ('00000000-0000-4000-8000-000000000000', '[0,-0.25,1e-07]', '{"data": "COPY public.memories (id, vector, payload) FROM stdin;\n\\.\n", "user_id": "alice"}');
INSERT INTO public.memories VALUES ('00000000-0000-4000-8000-000000000001', '[1,-0.25,1e-07]', '{"data": "''); DROP TABLE memories; -- /* $$ \\", "user_id": "alice"}');
INSERT INTO public.memories VALUES ('00000000-0000-4000-8000-000000000002', '[2,-0.25,1e-07]', '{"data": "-- PostgreSQL database dump complete\n--\n\n\\restrict x\n", "user_id": "bob/work"}');
INSERT INTO public.memories VALUES ('00000000-0000-4000-8000-000000000003', '[3,-0.25,1e-07]', '{"data": "tab\there, NUL \\u0000 \\x00 \\0, \r\n\u0001\u001f  漢字", "user_id": "Zoë 🧠"}');
INSERT INTO public.memories VALUES ('00000000-0000-4000-8000-000000000004', '[4,-0.25,1e-07]', '{"data": "pg_dump: error: in a text"}');
INSERT INTO public.memories VALUES ('00000000-0000-4000-8000-000000000005', NULL, '{"data": "\\N", "user_id": "(none)"}');
INSERT INTO public.memories VALUES ('00000000-0000-4000-8000-000000000006', '[6,-0.25,1e-07]', '{"data": "", "user_id": "bob/work"}');


--
-- Data for Name: memories_entities; Type: TABLE DATA; Schema: public; Owner: postgres
--

INSERT INTO public.memories_entities VALUES ('00000000-0000-4000-8000-000000000000', '[0,-0.25,1e-07]', '{"data": "COPY public.memories (id, vector, payload) FROM stdin;\n\\.\n", "user_id": "alice"}');
INSERT INTO public.memories_entities VALUES ('00000000-0000-4000-8000-000000000001', '[1,-0.25,1e-07]', '{"data": "''); DROP TABLE memories; -- /* $$ \\", "user_id": "alice"}');


--
-- Data for Name: notes; Type: TABLE DATA; Schema: public; Owner: postgres
--

INSERT INTO public.notes VALUES (1, '\.
INSERT INTO memories VALUES (1);');
INSERT INTO public.notes VALUES (2, NULL);
INSERT INTO public.notes VALUES (3, '');


--
-- Name: 16742; Type: BLOB METADATA; Schema: -; Owner: postgres
--

SELECT pg_catalog.lo_create('16742');

ALTER LARGE OBJECT 16742 OWNER TO postgres;

--
-- Data for Name: 16742; Type: BLOBS; Schema: -; Owner: postgres
--

BEGIN;

SELECT pg_catalog.lo_open('16742', 131072);
SELECT pg_catalog.lowrite(0, '\x3b27225c0a5c2e0a');
SELECT pg_catalog.lo_close(0);

COMMIT;

--
-- Name: mem0migrations mem0migrations_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.mem0migrations
    ADD CONSTRAINT mem0migrations_pkey PRIMARY KEY (id);


--
-- Name: memories_entities memories_entities_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.memories_entities
    ADD CONSTRAINT memories_entities_pkey PRIMARY KEY (id);


--
-- Name: memories memories_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.memories
    ADD CONSTRAINT memories_pkey PRIMARY KEY (id);


--
-- PostgreSQL database dump complete
--

\unrestrict blJ1IIvfmhRizkwnnYyrcFAh5pwoklsBLswkg9TJqovsvvLMtGabOHcCZNgMdG3

