"""The dialects of NB-IoT modems.  The file's name is the word in the configuration.

A file is pure: it makes commands and reads lines; :mod:`edge_agent.modem` does the talking.  It has

* ``PREPARE``: commands until the modem looks for a network; firmware that does not know one of them says ERROR;
* ``SIGNAL``: commands that tell of the radio, and ``signal(lines)`` that reads their lines;
* ``open_socket(host, port)``, ``socket_of(lines)``, ``send(socket, host, port, data)``, ``close(socket)``;
* ``mqtt``: the module with the commands of the modem's own MQTT, where it has one;
* ``heard(line)``: what an unsolicited line means, and ``arrived(lines)``: what reading a datagram returned.

Sources: the transcripts of RT-Thread's ``at_device`` package (classes bc28 and bc26), Quectel's and SIMCom's AT command
manuals as quoted in public issue threads.
"""
